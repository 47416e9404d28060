"""The Docker network of a lab: its subnet is the lab's node subnet, and its segment is the lab's underlay.

If the file states no subnet, netlab takes the first of 172.30.0.0/16, 172.29.0.0/16 ... that no
other network of the engine and no route of the machine uses. It creates the network together with
the lab, because that is how the engine reserves a subnet: of two labs that request the same one at
the same time, the second is refused and takes the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network

import msgspec

from netlab import __version__
from netlab.api.lab import Lab
from netlab.dataplane.state import NamespaceState
from netlab.engine.protocol import LAB_LABEL, STATE_LABEL, VERSION_LABEL, Engine, Network, NetworkSpec
from netlab.errors import EngineError, LabError
from netlab.ipam import AddressPlan

CANDIDATES = tuple(f"172.{second}.0.0/16" for second in range(30, 19, -1))
CLASH = 403  # the engine's HTTP code for a subnet that overlaps with another network's


def network_name(lab: str) -> str:
    """Return the name of a lab's network, as `docker network ls` shows it."""
    return f"netlab_{lab}"


def network_spec(lab: Lab, state_root: str) -> NetworkSpec:
    """Return the network of a lab. The machine's address in it follows the API server's."""
    addresses, name = AddressPlan.of(lab), lab.metadata.name
    labels = {LAB_LABEL: name, STATE_LABEL: state_root, VERSION_LABEL: __version__}
    return NetworkSpec(network_name(name), lab.spec.networking.node_subnet, addresses.machine, labels)


def choose_network(engine: Engine, machine: NamespaceState, lab: Lab, state_root: str, *, stated: bool) -> str:
    """Create the network of a new lab and return its subnet: the lab's, or else a free one.

    A `stated` subnet is never replaced.

    `machine` has the routes of this machine. A network that an earlier `up` of this lab has left is
    adopted, or recreated if the stated subnet has changed. Raises LabError with the holder of the
    stated subnet, or if no subnet is free.
    """
    subnet = lab.spec.networking.node_subnet
    networks = engine.networks({})
    left = next((network for network in networks if network.labels.get(LAB_LABEL) == lab.metadata.name), None)
    if left and (not stated or subnet in left.subnets):
        return left.subnets[0]
    if left:
        engine.remove_network(left.id)
    taken = holders((network for network in networks if network is not left), machine)
    for wanted in (subnet,) if stated else CANDIDATES:
        holder = _holder(wanted, taken)
        if not holder:
            try:
                engine.create_network(network_spec(with_node_subnet(lab, wanted), state_root))
            except EngineError as error:
                if error.code != CLASH:
                    raise
                holder = "a network that another client has just created"
            else:
                return wanted
        if stated:
            raise clash(wanted, holder)
    raise LabError(
        f"all of {CANDIDATES[0]} to {CANDIDATES[-1]} are in use on this machine",
        remedy="Set spec.networking.nodeSubnet to a free range; `docker network ls` and `ip route` show those in use.",
    )


def with_node_subnet(lab: Lab, subnet: str) -> Lab:
    """Return the lab with another node subnet."""
    networking = msgspec.structs.replace(lab.spec.networking, node_subnet=subnet)
    return msgspec.structs.replace(lab, spec=msgspec.structs.replace(lab.spec, networking=networking))


def clash(subnet: str, holder: str) -> LabError:
    """Return the error for a node subnet that is in use."""
    return LabError(
        f"spec.networking.nodeSubnet: {subnet} overlaps with {holder}",
        remedy="Set another range, or omit the field: netlab then takes the first free range. "
        "Remove leftovers of labs: netlab gc.",
    )


def holders(networks: Iterable[Network], machine: NamespaceState) -> tuple[tuple[IPv4Network, str], ...]:
    """Return the ranges that are in use, each with its holder."""
    of_networks = (
        (IPv4Network(subnet), f"the Docker network {network.name}" + _of_lab(network))
        for network in networks
        for subnet in network.subnets
        if ":" not in subnet
    )
    routes = (route for route in machine.routes if not route.destination.startswith("0.0.0.0/0"))
    of_machine = ((IPv4Network(route.destination), f"the machine's route to {route.destination}") for route in routes)
    return (*of_networks, *of_machine)


def _of_lab(network: Network) -> str:
    return f" of lab {network.labels[LAB_LABEL]}" if LAB_LABEL in network.labels else ""


def _holder(subnet: str, taken: Sequence[tuple[IPv4Network, str]]) -> str:
    return next((holder for network, holder in taken if network.overlaps(IPv4Network(subnet))), "")
