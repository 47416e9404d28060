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
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from netlab.api.wellknown import FLANNEL_BACKEND_DATA, FLANNEL_PUBLIC_IP, FLANNEL_PUBLIC_IP_OVERWRITE
from netlab.dataplane.names import mac_address, ownership_mark
from netlab.dataplane.state import Address, ForwardingEntry, Link, NamespaceState, Neighbour, Route, Vxlan

PREFIX = "flannel.alpha.coreos.com/"
BACKEND_TYPE = f"{PREFIX}backend-type"
BACKEND_DATA, PUBLIC_IP, PUBLIC_IP_OVERWRITE = FLANNEL_BACKEND_DATA, FLANNEL_PUBLIC_IP, FLANNEL_PUBLIC_IP_OVERWRITE
KUBE_SUBNET_MANAGER = f"{PREFIX}kube-subnet-manager"

BACKEND = "vxlan"
DEFAULT_VNI = 1
DEFAULT_PORT = 8472  # the Linux kernel's own, not IANA's 4789 (2.13)
OVERHEAD = 50  # outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 (2.14)
UNDERLAY_DEVICE = "eth0"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class Lease:
    """What a node tells about its end of the overlay."""

    node: str
    subnet: str  # 10.244.1.0/24
    public_ip: str
    vtep_mac: str
    vni: int = DEFAULT_VNI

    @property
    def address(self) -> str:
        """The address of its flannel.1: the subnet's own."""
        return str(IPv4Network(self.subnet).network_address)


@dataclass(frozen=True)
class Problem:
    """Why a node does not take part in the overlay (yet)."""

    node: str
    reason: str


@dataclass(frozen=True)
class Overlay:
    """What this node's namespace holds for the overlay, and which nodes were left out of it."""

    state: NamespaceState
    ignored: tuple[Problem, ...] = ()


def device_name(vni: int = DEFAULT_VNI) -> str:
    """Return the device's name, `flannel.1`."""
    return f"flannel.{vni}"


def vtep_mac(lab: str, node: str, annotations: Mapping[str, str]) -> str:
    """Return the MAC address of a node's VTEP: the one announced before, else one made from the names (2.9)."""
    announced, _ = _backend_data(annotations)
    return announced if _MAC.fullmatch(announced) else mac_address(lab, node, device_name())


def lease_annotations(public_ip: str, mac: str, vni: int = DEFAULT_VNI) -> dict[str, str]:
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
        return Problem(node, f"its backend is {backend}, not {BACKEND}: overlays do not mix (semantics 2.11)")
    mac, vni = _backend_data(annotations)
    if not _MAC.fullmatch(mac):
        return Problem(node, f"its annotation {BACKEND_DATA} holds no VtepMAC")
    public_ip = annotations.get(PUBLIC_IP_OVERWRITE) or annotations.get(PUBLIC_IP, "")
    try:
        return Lease(node, str(IPv4Network(pod_cidr)), str(IPv4Address(public_ip)), mac, vni)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        return Problem(node, f"its lease cannot be used: {error}")


def _backend_data(annotations: Mapping[str, str]) -> tuple[str, int]:
    """Return the MAC address and VNI announced, an empty MAC when there is none that can be read."""
    try:
        content = json.loads(annotations.get(BACKEND_DATA, ""))
    except ValueError:
        return "", DEFAULT_VNI
    if not isinstance(content, dict):
        return "", DEFAULT_VNI
    vni = content.get("VNI", DEFAULT_VNI)
    return str(content.get("VtepMAC", "")).lower(), vni if isinstance(vni, int) else DEFAULT_VNI


def overlay(
    lab: str,
    local: Lease,
    remotes: Iterable[Lease | Problem],
    *,
    port: int = DEFAULT_PORT,
    device: str = UNDERLAY_DEVICE,
    device_mtu: int = 1500,
) -> Overlay:
    """Return what the local node holds: flannel.1 and three entries per remote node. `remotes` may hold its own lease."""
    name = device_name(local.vni)
    leases, ignored = _partition(local, remotes)
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
        neighbours=tuple(Neighbour(name, lease.address, lease.vtep_mac) for lease in leases),
        forwarding=tuple(ForwardingEntry(name, lease.vtep_mac, lease.public_ip) for lease in leases),
        routes=tuple(Route(lease.subnet, name, gateway=lease.address, onlink=True) for lease in leases),
    )
    return Overlay(state, ignored)


def _partition(local: Lease, remotes: Iterable[Lease | Problem]) -> tuple[list[Lease], tuple[Problem, ...]]:
    """Return the leases to program, by node name, and the reasons for those left out."""
    leases: dict[str, Lease] = {}
    ignored: list[Problem] = []
    for remote in sorted(remotes, key=lambda item: item.node):
        if remote.node == local.node:
            continue
        if isinstance(remote, Problem):
            ignored.append(remote)
        elif remote.subnet == local.subnet or remote.subnet in leases:
            ignored.append(Problem(remote.node, f"its subnet {remote.subnet} belongs to another node"))
        else:
            leases[remote.subnet] = remote
    return list(leases.values()), tuple(ignored)


def owns(name: str, vni: int = DEFAULT_VNI) -> bool:
    """Answer `diff` for the overlay: flannel's device and all that is on it is the agent's."""
    return name == device_name(vni)
