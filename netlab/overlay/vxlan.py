"""flannel's VXLAN backend: how a node's packets to pods elsewhere find their node (semantics 2.8-2.24).

A packet for 10.244.2.7 leaves node1 like this:

1. Route: 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink. The gateway is the remote node's flannel.1, whose address is its
   subnet's own (.0), a /32: there is no connected route, so `onlink` must say that it can be reached (2.15, 2.16).
2. ARP: 10.244.2.0 is at the remote VTEP's MAC address. One permanent entry per node, none per pod.
3. FDB: that MAC is behind the remote node's public address. The kernel wraps the frame into UDP 8472, VNI 1, and the inner
   packet arrives as it was sent, without NAT (2.24).

So each remote node is exactly three entries, and nothing is ever flooded or learnt: an unknown destination is not
encapsulated at all (2.19).

What would surprise you: the MAC address is read back from the annotation (2.9), as other nodes hold
permanent entries with it; a new one would cut the node off until all of them noticed. A node's own
lease is made from the lab and its Node object, not from its annotations, which anybody may have
changed.

A MAC address of no single device makes a lease invalid. Two nodes may announce one MAC address
(one forwarding entry): the node has it whose name it was made from, else the first by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from typing import Any

from netlab.api import values
from netlab.api.cluster import Node
from netlab.api.lab import Networking
from netlab.api.values import Ip, Mac
from netlab.api.wellknown import FLANNEL_BACKEND_DATA
from netlab.dataplane.fabric import MTU
from netlab.dataplane.names import mac_address, ownership_mark
from netlab.dataplane.owned import OwnedState, on_devices
from netlab.dataplane.state import Address, ForwardingEntry, Link, NamespaceState, Neighbour, Route, Vxlan
from netlab.errors import InvalidValueError
from netlab.family import Family
from netlab.overlay import leases
from netlab.overlay.leases import Lease, Overlay, Problem

BACKEND = "vxlan"
BACKEND_DATA = FLANNEL_BACKEND_DATA
DEFAULT_VNI = 1
LARGEST_VNI = (1 << 24) - 1
LONGEST_BACKEND_DATA = 1024  # characters; flannel's own has less than 100
DEFAULT_PORT = 8472  # the Linux kernel's own, not IANA's 4789 (2.13)
INNER_ETHERNET, UDP, VXLAN = 14, 8, 8  # bytes of the headers that a packet gets besides IP's (2.14)
UNDERLAY_DEVICE = "eth0"
DEVICES: Mapping[Family, str] = {Family.IPV4: "flannel", Family.IPV6: "flannel-v6"}


@dataclass(frozen=True)
class VxlanLease(Lease):
    """A lease with the MAC address of the node's VTEP."""

    vtep_mac: Mac
    vni: int = DEFAULT_VNI

    @property
    def address(self) -> Ip:
        """The address of its flannel.1: the subnet's own."""
        return Ip(str(ip_network(self.subnet).network_address))

    def entries(self, device: str) -> NamespaceState:
        """Return what another node holds for this one (2.16)."""
        return NamespaceState(
            neighbours=(Neighbour(device, self.address, self.vtep_mac),),
            forwarding=(ForwardingEntry(device, self.vtep_mac, self.public_ip),),
            routes=(Route(self.subnet, device, gateway=self.address, onlink=True),),
        )


def device_name(family: Family, vni: int = DEFAULT_VNI) -> str:
    """Return the device's name, `flannel.1`."""
    return f"{DEVICES[family]}.{vni}"


def overhead(family: Family) -> int:
    """Return by how many bytes a packet between nodes grows: 50 with IPv4."""
    return INNER_ETHERNET + family.header + UDP + VXLAN


def vtep_mac(lab: str, node: str, annotations: Mapping[str, str]) -> Mac:
    """Return the MAC address of a node's VTEP: the one announced before, else one made from the names (2.9)."""
    try:
        return values.mac(_text(_backend_data(annotations), "VtepMAC"), "VtepMAC")
    except InvalidValueError:
        return _own_mac(lab, node)


def _own_mac(lab: str, node: str) -> Mac:
    return Mac(mac_address(lab, node, device_name(Family.IPV4)))


def lease_annotations(public_ip: Ip, mac: Mac, vni: int = DEFAULT_VNI) -> dict[str, str]:
    """Return the annotations by which a node announces its lease, as flanneld writes them (2.8)."""
    data = json.dumps({"VNI": vni, "VtepMAC": mac}, separators=(",", ":"))
    return {BACKEND_DATA: data, **leases.lease_annotations(BACKEND, public_ip)}


def parse_lease(
    node: str,
    pod_cidr: str,
    annotations: Mapping[str, str],
    family: Family,
) -> VxlanLease | Problem:
    """Read a node's lease from its Node object, or say what is missing."""

    def with_data(lease: Lease) -> VxlanLease:
        data = _backend_data(annotations)
        mac = values.mac(_text(data, "VtepMAC"), f"VtepMAC in annotation {BACKEND_DATA}")
        return VxlanLease(**vars(lease), vtep_mac=mac, vni=_vni(data.get("VNI", DEFAULT_VNI)))

    return leases.parse(BACKEND, node, pod_cidr, annotations, with_data, family=family)


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
    local: VxlanLease,
    remotes: Iterable[VxlanLease | Problem],
    *,
    port: int = DEFAULT_PORT,
    device: str = UNDERLAY_DEVICE,
    device_mtu: int = MTU,
    pods: str = "",
) -> Overlay:
    """Return what the local node holds: flannel.1 and three entries per remote node.

    `remotes` may hold its own lease. `pods` is the pod network of all subnets; empty: any.
    """
    family = Family.of(local.subnet)
    name, remotes = device_name(family, local.vni), tuple(remotes)
    mark = ownership_mark(lab, name)
    conflict = partial(_mac_conflict, _mac_owners(lab, local, remotes))
    accepted, ignored = leases.accept(local, remotes, pods or family.any, conflict)
    link = Link(
        name=name,
        kind=Vxlan(vni=local.vni, port=port, local=local.public_ip, device=device),
        mac=local.vtep_mac,
        mtu=device_mtu - overhead(Family.of(local.public_ip)),
        alias=mark,
    )
    base = NamespaceState(links=(link,), addresses=(Address(name, family.host(local.address)),))
    fragments = {lease.node: lease.entries(name) for lease in accepted}
    return Overlay(OwnedState(base, fragments, on_devices([name], [mark])), ignored)


def _mac_owners(
    lab: str,
    local: VxlanLease,
    remotes: Iterable[VxlanLease | Problem],
) -> Mapping[Mac, str]:
    """Return which node has each MAC address: that whose name it was made from, else the first."""

    def rank(lease: VxlanLease) -> tuple[bool, str]:
        return lease.vtep_mac != _own_mac(lab, lease.node), lease.node

    owners = {local.vtep_mac: local.node}
    found = [lease for lease in remotes if not isinstance(lease, Problem)]
    for lease in sorted(found, key=rank):
        if lease.node != local.node:
            owners.setdefault(lease.vtep_mac, lease.node)
    return owners


def _mac_conflict(owners: Mapping[Mac, str], lease: VxlanLease) -> str:
    owner = owners[lease.vtep_mac]
    return "" if owner == lease.node else f"its MAC address {lease.vtep_mac} is that of {owner}"


class VxlanBackend:
    """The backend `vxlan` of one lab and family."""

    def __init__(self, lab: str, networking: Networking, family: Family) -> None:
        self._lab = lab
        self._family = family
        self.pod_mtu = MTU - overhead(family)
        self._networking = networking
        self.tunnel = (networking.backend.port, networking.backend.vni)
        self.devices = self.watched = (device_name(family, networking.backend.vni),)

    def source(self, node: Node) -> str:
        """Return the address of the node's flannel.1."""
        return str(ip_network(node.spec.pod_cidr).network_address)

    def annotations(self, node: Node) -> dict[str, str]:
        """Return the annotations of a node's lease (see `backends.Backend`)."""
        own = self._own_lease(node)
        return lease_annotations(own.public_ip, own.vtep_mac, own.vni)

    def overlay(self, node: Node, nodes: Iterable[Node]) -> Overlay:
        """Return what a node holds to reach the pods of `nodes` (see `backends.Backend`)."""
        own, networking = self._own_lease(node), self._networking
        remotes = [parse_lease(n.metadata.name, n.spec.pod_cidr, n.metadata.annotations, self._family) for n in nodes]
        port, pods = networking.backend.port, networking.pod_subnet
        return overlay(self._lab, own, remotes, port=port, pods=pods)

    def _own_lease(self, node: Node) -> VxlanLease:
        lease = leases.own_lease(node, self._family)
        mac = vtep_mac(self._lab, lease.node, node.metadata.annotations)
        return VxlanLease(**vars(lease), vtep_mac=mac, vni=self._networking.backend.vni)
