"""flannel's VXLAN backend: how a node's packets to pods elsewhere find their node (semantics 2.8-2.24).

A packet for 10.244.2.7 leaves node1 like this:

1. Route: 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink. The gateway is the remote node's flannel.1, whose address is its
   subnet's own (.0), a /32: there is no connected route, so `onlink` must say that it can be reached (2.15, 2.16).
2. ARP: 10.244.2.0 is at the remote VTEP's MAC address. One permanent entry per node, none per pod.
3. FDB: that MAC is behind the remote node's public address. The kernel wraps the frame into UDP 8472, VNI 1, and the inner
   packet arrives as it was sent, without NAT (2.24).

So each remote node is exactly three entries, and nothing is ever flooded or learnt: an unknown destination is not
encapsulated at all (2.19). Nodes tell each other through annotations of the Node object (2.8); flanneld can read and
write the same ones. A node ignores its own lease (2.12) and those of other backends, with a warning (2.11).

What would surprise you: the MAC address is read back from the annotation (2.9), as other nodes hold permanent entries
with it; made anew it would cut the node off until they all noticed.

A lease is what another node says of itself, so it is parsed as any text of an object, and a lease that cannot be used is left
out alone, as flannel logs it and goes on with the next one: a MAC address of no single device, a public address that is ours, a
subnet outside the pod network or over another node's. Two nodes may announce one MAC address (one forwarding entry): the node has
it whose name it was made from, else the first by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from netlab.api import values
from netlab.api.values import Cidr, Ipv4, Mac
from netlab.api.wellknown import FLANNEL_BACKEND_DATA, FLANNEL_PUBLIC_IP, FLANNEL_PUBLIC_IP_OVERWRITE
from netlab.dataplane.names import mac_address, ownership_mark
from netlab.dataplane.state import Address, ForwardingEntry, Link, NamespaceState, Neighbour, Route, Vxlan
from netlab.errors import InvalidValueError

PREFIX = "flannel.alpha.coreos.com/"
BACKEND_TYPE = f"{PREFIX}backend-type"
BACKEND_DATA, PUBLIC_IP, PUBLIC_IP_OVERWRITE = FLANNEL_BACKEND_DATA, FLANNEL_PUBLIC_IP, FLANNEL_PUBLIC_IP_OVERWRITE
KUBE_SUBNET_MANAGER = f"{PREFIX}kube-subnet-manager"

BACKEND = "vxlan"
DEFAULT_VNI = 1
LARGEST_VNI = (1 << 24) - 1
LONGEST_BACKEND_DATA = 1024  # characters; flannel's own has less than 100
DEFAULT_PORT = 8472  # the Linux kernel's own, not IANA's 4789 (2.13)
OVERHEAD = 50  # outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 (2.14)
UNDERLAY_DEVICE = "eth0"


@dataclass(frozen=True)
class Lease:
    """What a node tells about its end of the overlay, parsed."""

    node: str
    subnet: Cidr  # 10.244.1.0/24
    public_ip: Ipv4
    vtep_mac: Mac
    vni: int = DEFAULT_VNI

    @property
    def address(self) -> Ipv4:
        """The address of its flannel.1: the subnet's own."""
        return Ipv4(str(IPv4Network(self.subnet).network_address))

    def entries(self, device: str) -> tuple[Neighbour, ForwardingEntry, Route]:
        """Return what another node holds for this one, in flannel's order (2.16)."""
        return (
            Neighbour(device, self.address, self.vtep_mac),
            ForwardingEntry(device, self.vtep_mac, self.public_ip),
            Route(self.subnet, device, gateway=self.address, onlink=True),
        )


@dataclass(frozen=True)
class Problem:
    """Why a node does not take part in the overlay (yet). `wrong`: it says what cannot be; else it may come by itself."""

    node: str
    reason: str
    wrong: bool = False


@dataclass(frozen=True)
class Overlay:
    """What this node's namespace holds for the overlay, for which nodes, and which were left out of it."""

    state: NamespaceState
    ignored: tuple[Problem, ...] = ()
    leases: tuple[Lease, ...] = ()


def device_name(vni: int = DEFAULT_VNI) -> str:
    """Return the device's name, `flannel.1`."""
    return f"flannel.{vni}"


def vtep_mac(lab: str, node: str, annotations: Mapping[str, str]) -> Mac:
    """Return the MAC address of a node's VTEP: the one announced before, else one made from the names (2.9)."""
    try:
        return values.mac(_text(_backend_data(annotations), "VtepMAC"), "VtepMAC")
    except InvalidValueError:
        return _own_mac(lab, node)


def _own_mac(lab: str, node: str) -> Mac:
    return Mac(mac_address(lab, node, device_name()))


def lease_annotations(public_ip: Ipv4, mac: Mac, vni: int = DEFAULT_VNI) -> dict[str, str]:
    """Return the annotations by which a node announces its lease, as flanneld writes them (2.8)."""
    return {
        BACKEND_DATA: json.dumps({"VNI": vni, "VtepMAC": mac}, separators=(",", ":")),
        BACKEND_TYPE: BACKEND,
        KUBE_SUBNET_MANAGER: "true",
        PUBLIC_IP: public_ip,
    }


def parse_lease(node: str, pod_cidr: str, annotations: Mapping[str, str]) -> Lease | Problem:
    """Read a node's lease from its Node object, or say what is missing."""
    backend = annotations.get(BACKEND_TYPE, "")
    if not pod_cidr:
        return Problem(node, "it has no spec.podCIDR yet")
    if annotations.get(KUBE_SUBNET_MANAGER) != "true" or not backend:
        return Problem(node, "its agent has not announced a lease yet")
    if backend != BACKEND:
        return Problem(node, f"its backend is {values.shown(backend)}, not {BACKEND}: overlays do not mix (semantics 2.11)")
    public_ip = annotations.get(PUBLIC_IP_OVERWRITE) or annotations.get(PUBLIC_IP, "")
    try:
        data = _backend_data(annotations)
        return Lease(
            node,
            values.cidr(pod_cidr, "spec.podCIDR"),
            values.unicast(public_ip, f"annotation {PUBLIC_IP}"),
            values.mac(_text(data, "VtepMAC"), f"VtepMAC in annotation {BACKEND_DATA}"),
            _vni(data.get("VNI", DEFAULT_VNI)),
        )
    except InvalidValueError as error:
        return Problem(node, f"its lease cannot be used: {error.message}", wrong=True)


def _backend_data(annotations: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what the annotation holds, a map. Raises InvalidValueError."""
    text = annotations.get(BACKEND_DATA, "")
    if len(text) <= LONGEST_BACKEND_DATA:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict):
            return content
    raise InvalidValueError(f"annotation {BACKEND_DATA} is {values.shown(text)}, which is not a short JSON object.")


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    return value if isinstance(value, str) else ""


def _vni(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= LARGEST_VNI:
        raise InvalidValueError(f"VNI in annotation {BACKEND_DATA} is {values.shown(number)}, not 1 to {LARGEST_VNI}.")
    return number


def overlay(
    lab: str,
    local: Lease,
    remotes: Iterable[Lease | Problem],
    *,
    port: int = DEFAULT_PORT,
    device: str = UNDERLAY_DEVICE,
    device_mtu: int = 1500,
    pods: str = values.EVERYBODY,
) -> Overlay:
    """Return what the local node holds: flannel.1 and three entries per remote node.

    `remotes` may hold its own lease. `pods` is the pod network, in which all subnets lie.
    """
    name = device_name(local.vni)
    leases, ignored = _partition(lab, local, remotes, IPv4Network(pods))
    entries = [lease.entries(name) for lease in leases]
    state = NamespaceState(
        links=(
            Link(
                name=name,
                kind=Vxlan(vni=local.vni, port=port, local=local.public_ip, device=device),
                mac=local.vtep_mac,
                mtu=device_mtu - OVERHEAD,
                alias=ownership_mark(lab, name),
            ),
        ),
        addresses=(Address(name, f"{local.address}/32"),),
        neighbours=tuple(neighbour for neighbour, _, _ in entries),
        forwarding=tuple(entry for _, entry, _ in entries),
        routes=tuple(route for _, _, route in entries),
    )
    return Overlay(state, ignored, tuple(leases))


def _partition(
    lab: str, local: Lease, remotes: Iterable[Lease | Problem], pods: IPv4Network
) -> tuple[list[Lease], tuple[Problem, ...]]:
    """Return the leases to program, by node name, and the reasons for those left out."""
    others = [remote for remote in remotes if remote.node != local.node]
    ignored = [remote for remote in others if isinstance(remote, Problem)]
    named = sorted((lease for lease in others if isinstance(lease, Lease)), key=lambda lease: lease.node)
    taken = {local.vtep_mac: local.node}
    for lease in sorted(named, key=lambda lease: lease.vtep_mac != _own_mac(lab, lease.node)):  # rightful owners first
        taken.setdefault(lease.vtep_mac, lease.node)
    leases: list[Lease] = []
    for lease in named:
        reason = _hindrance(lease, local, leases, pods)
        if not reason and taken[lease.vtep_mac] != lease.node:
            reason = f"its MAC address {lease.vtep_mac} is that of {taken[lease.vtep_mac]}"
        if reason:
            ignored.append(Problem(lease.node, reason, wrong=True))
        else:
            leases.append(lease)
    return leases, tuple(sorted(ignored, key=lambda problem: problem.node))


def _hindrance(lease: Lease, local: Lease, accepted: Iterable[Lease], pods: IPv4Network) -> str:
    """Return why a lease cannot stand beside the others, empty when it can."""
    subnet = IPv4Network(lease.subnet)
    if not subnet.subnet_of(pods):
        return f"its subnet {lease.subnet} is outside the pod network {pods}"
    if any(subnet.overlaps(IPv4Network(other.subnet)) for other in (local, *accepted)):
        return f"its subnet {lease.subnet} belongs to another node"
    if lease.public_ip == local.public_ip:
        return f"its public address {lease.public_ip} is this node's own"
    inside = pods != IPv4Network(values.EVERYBODY) and IPv4Address(lease.public_ip) in pods
    return f"its public address {lease.public_ip} is inside the pod network" if inside else ""


def owns(name: str, vni: int = DEFAULT_VNI) -> bool:
    """Answer `diff` for the overlay: flannel's device and all that is on it is the agent's."""
    return name == device_name(vni)
