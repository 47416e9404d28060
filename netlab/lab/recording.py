"""Put a lab on record, before anything of it is made: what it is, the images and the network of its containers, certificates.

The order matters for a crash in between. A lab of containers is known as one by its images, which are written first, so `down`
asks the engine. What the lab is comes last, and whole: only then are its networks decided, and its network there. Until then
the next `up` decides anew, and takes over the network that this one has left.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import msgspec

from netlab.api.lab import DOCKER, Lab
from netlab.controlplane.pki import server_names
from netlab.errors import UsageError
from netlab.files import write_whole
from netlab.ipam import AddressPlan
from netlab.lab import containers
from netlab.lab.access.docker import engine
from netlab.lab.repair import recorded_lab
from netlab.runtime.docker_network import with_node_subnet
from netlab.runtime.statedir import StateDirectory
from netlab.topology import Topology


def record(state: StateDirectory, topology: Topology, say: Callable[[str], None]) -> Topology:
    """Put the lab on record, before anything of it is made; the topology then has the networks that it keeps while it exists."""
    lab, spec = topology.lab, state.lab_file
    docker = lab.spec.runtime == DOCKER
    running = recorded_lab(state)
    if running:
        if docker and not topology.states_node_subnet:
            lab = with_node_subnet(lab, running.spec.networking.node_subnet)
        _refuse_new_networks(running, lab)
    with engine() if docker else nullcontext() as connected:
        images = containers.require_images_of(connected, topology.images, say) if connected else {}
        state.create()
        if connected:
            write_whole(state.images_file, msgspec.json.encode(images))
        if connected and not running:
            lab = containers.place(connected, state, lab, stated=topology.states_node_subnet)
    if docker and spec.exists():  # it is mounted in the lab's containers
        spec.write_bytes(msgspec.json.encode(lab))
    else:
        write_whole(spec, msgspec.json.encode(lab))
    return replace(topology, lab=lab)


def make_certificates(state: StateDirectory, lab: Lab) -> None:
    """Make the lab's certificates, if they are not there: the daemon then need not carry the library that does."""
    from netlab.controlplane.certificates import ensure_pki

    addresses = AddressPlan.of(lab)
    ensure_pki(state.pki, server_names([addresses.api_server, addresses.kubernetes_service], lab.spec.networking.dns_domain))


def _refuse_new_networks(running: Lab, wanted: Lab) -> None:
    """A lab's networks are decided when it is created, as a cluster's are."""
    for field in ("runtime", "networking", "load_balancer", "dns"):  # the networks of another runtime may be others
        before, now = getattr(running.spec, field), getattr(wanted.spec, field)
        if before != now:
            raise UsageError(
                f"spec.{field} of the running lab {running.metadata.name!r} cannot change",
                remedy=f"Take it down first: netlab down {running.metadata.name}",
            )
