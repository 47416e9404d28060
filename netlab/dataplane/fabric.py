"""The lab's underlay: a namespace with two bridges, and a cable from them to every host.

    fabric namespace                                hosts
    underlay (bridge, 172.30.0.2/16)   u-node1 ---- eth0 node1
                                       u-edge  ---- eth0 edge
    outside  (bridge, no address)      o-edge  ---- eth1 edge
                                       o-client --- eth0 client

- The fabric forwards frames and never packets: ip_forward is 0, and br_netfilter does not hand bridged frames to
  anybody's rules there. It has the API server's address on the underlay. No interface of the machine is in it, so no
  packet of a lab can leave the machine (principle 2).
- The fabric's state makes the cables. A host's own state then sets the far end's MAC, MTU, addresses and routes, and sets
  it up; so each namespace is observed, compared and repaired alone.
- Only the edge joins the two bridges, as a router. Nodes and clients have it as default gateway; it has no route to pods
  or Services, so the outside cannot reach them, by design.
- `lo` is stated with its address: both can be taken away by hand.
- Settings (sysctls) are written by the lab's daemon alone, from outside: /proc/sys is read-only in a node's container.
- A node is set up as kubeadm's preflight wants it: ip_forward and bridge-nf-call-iptables on (semantics 18.1), reverse
  path filter off (18.25). `eth0` is named besides `all` and `default`, as it is older than the namespace's settings; the
  interfaces that others make (cni0, flannel.1) are named in case somebody changes theirs by hand.
- Nodes and edge say "refused" to everybody who is refused (semantics 6.3). As kernels come, they send a client six ICMP
  messages at once and then one a second, and a client that is told nothing hangs as if it were dropped: who asks a
  Service without endpoints ten times would see both outcomes, which must differ. `icmp_ratemask` names the types that
  are limited; destination unreachable (3) is taken out, the others (4, 11, 12) stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_interface

from netlab.dataplane.bridge import CNI_BRIDGE
from netlab.dataplane.names import digest, mac_address, ownership_mark
from netlab.dataplane.pod import LOOPBACK, LOOPBACK_UP, NO_IPV6
from netlab.dataplane.state import Address, Bridge, Link, NamespaceState, Route, Veth
from netlab.family import Family

UNDERLAY = "underlay"
OUTSIDE = "outside"
MTU = 1500
LONGEST_INTERFACE_NAME = 15  # IFNAMSIZ less the closing zero


class Role(Enum):
    """What a host is for; settings and cables follow from it."""

    NODE = "node"
    EDGE = "edge"
    CLIENT = "client"


@dataclass(frozen=True)
class Host:
    """A host of the lab: its namespace's path and its addresses with prefix length, empty where it has no such cable."""

    name: str
    role: Role
    path: str
    underlay: str = ""  # 172.30.1.1/16
    outside: str = ""  # 203.0.113.10/24
    gateway: str = ""  # the edge's address on the same bridge; empty: no default route


def _for_interfaces(setting: str, value: str, interfaces: Sequence[str]) -> dict[str, str]:
    return {f"net/ipv4/conf/{name}/{setting}": value for name in ("all", "default", *interfaces)}


def _forwarding(interfaces: Sequence[str]) -> dict[str, str]:
    """Return the setting by interface: `ip_forward` sets all of them at once, and somebody can change one of them after."""
    return {f"net/ipv4/conf/{name}/forwarding": "1" for name in interfaces}


def _announcing(interfaces: Sequence[str]) -> dict[str, str]:
    """Return the setting by which a host tells its neighbors that its MAC address was put right (gratuitous ARP)."""
    return {f"net/ipv4/conf/{name}/arp_notify": "1" for name in interfaces}


FABRIC_SYSCTLS = {
    **NO_IPV6,
    "net/ipv4/ip_forward": "0",
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
    "net/ipv4/conf/all/arp_ignore": "1",  # the API server's address is answered for on the underlay only
}
LIMITED_ICMP_TYPES = (4, 11, 12)
REFUSALS = {"net/ipv4/icmp_ratemask": str(sum(1 << number for number in LIMITED_ICMP_TYPES))}
NODE_SYSCTLS = {
    **NO_IPV6,
    "net/ipv6/conf/default/accept_ra": "0",  # what the agent makes is born with it: flannel.1 (semantics 2.23)
    **REFUSALS,
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    **_for_interfaces("rp_filter", "0", ["eth0", CNI_BRIDGE]),
    **_forwarding(["eth0", CNI_BRIDGE]),
    **_announcing(["eth0"]),
}
EDGE_SYSCTLS = {
    **NO_IPV6,
    **REFUSALS,
    "net/ipv4/ip_forward": "1",
    **_for_interfaces("rp_filter", "0", ["eth0", "eth1"]),
    "net/ipv4/conf/eth0/accept_local": "1",  # nodes answer from a load balancer's address where there is no node port
    **_for_interfaces("send_redirects", "0", ["eth0", "eth1"]),  # node to load balancer and back goes by one interface
    **_forwarding(["eth0", "eth1"]),
    **_announcing(["eth0", "eth1"]),
}
CLIENT_SYSCTLS = {**NO_IPV6, "net/ipv4/ip_forward": "0", **_announcing(["eth0"])}
SYSCTLS = {Role.NODE: NODE_SYSCTLS, Role.EDGE: EDGE_SYSCTLS, Role.CLIENT: CLIENT_SYSCTLS}


@dataclass(frozen=True)
class _Cable:
    """One veth pair between a bridge of the fabric and an interface of a host."""

    bridge: str
    host: Host
    interface: str
    address: str


def _cables(host: Host) -> list[_Cable]:
    """Return a host's cables; the first is its eth0, the next its eth1."""
    ends = [(bridge, address) for bridge, address in ((UNDERLAY, host.underlay), (OUTSIDE, host.outside)) if address]
    return [_Cable(bridge, host, f"eth{index}", address) for index, (bridge, address) in enumerate(ends)]


def cable_name(bridge: str, host: str) -> str:
    """Return the fabric's end of a cable: `u-node1`, `o-client`; a long name is cut and made unique by a digest."""
    name = f"{bridge[0]}-{host}"
    return name if len(name) <= LONGEST_INTERFACE_NAME else f"{name[:6]}-{digest(bridge, host)}"


def fabric_state(lab: str, address: str, hosts: Iterable[Host], *, uplink: str = "") -> NamespaceState:
    """Return what the fabric's namespace holds; `address` is its own on the underlay, `172.30.0.2/16`.

    `uplink` is an interface that somebody else has put there and that becomes a port of the underlay.
    """
    bridges = tuple(
        Link(name, Bridge(), mac=mac_address(lab, "fabric", name), mtu=MTU, alias=ownership_mark(lab, name))
        for name in (UNDERLAY, OUTSIDE)
    )
    cables = tuple(_cable_link(lab, cable) for host in hosts for cable in _cables(host))
    uplinks = (Link(uplink, master=UNDERLAY, alias=ownership_mark(lab, uplink)),) if uplink else ()
    return NamespaceState(
        links=(LOOPBACK_UP, *bridges, *cables, *uplinks),
        addresses=(LOOPBACK, Address(UNDERLAY, address)),
        sysctls=dict(FABRIC_SYSCTLS),
    )


def _cable_link(lab: str, cable: _Cable) -> Link:
    name = cable_name(cable.bridge, cable.host.name)
    return Link(
        name=name,
        kind=Veth(cable.interface, cable.host.path, peer_mac=mac_address(lab, cable.host.name, cable.interface)),
        mac=mac_address(lab, "fabric", name),
        mtu=MTU,
        master=cable.bridge,
        alias=ownership_mark(lab, name),
    )


def host_state(lab: str, host: Host, overlay_devices: Iterable[str] = ()) -> NamespaceState:
    """Return what a host's namespace holds of the fabric: its interfaces, addresses, default route and settings.

    `overlay_devices` get their settings here as well: a node's agent in a container cannot write them.
    """
    cables = _cables(host)
    made = tuple(overlay_devices) if host.role is Role.NODE else ()
    of_overlay = {**_forwarding(made), **{f"net/ipv4/conf/{name}/rp_filter": "0" for name in made}}
    default = next((c.interface for c in cables if host.gateway and _reaches(c.address, host.gateway)), "")
    return NamespaceState(
        links=(
            LOOPBACK_UP,
            *(
                Link(
                    name=cable.interface,
                    mac=mac_address(lab, host.name, cable.interface),
                    mtu=MTU,
                    alias=ownership_mark(lab, f"{host.name}/{cable.interface}"),
                )
                for cable in cables
            ),
        ),
        addresses=(LOOPBACK, *(Address(cable.interface, cable.address) for cable in cables)),
        routes=_default_routes(host.gateway, default) if default else (),
        sysctls={**SYSCTLS[host.role], **of_overlay},
    )


def _default_routes(gateway: str, device: str) -> tuple[Route, ...]:
    return (Route(Family.of(gateway).any, device, gateway=gateway),)


def _reaches(address: str, gateway: str) -> bool:
    return ip_interface(gateway).ip in ip_interface(address).network


def owns_in_fabric(name: str) -> bool:
    """Answer `diff` for the fabric's namespace: everything in it but `lo`."""
    return name not in {"", "lo"}


def owns_in_host(name: str) -> bool:
    """Answer `diff` for a host's namespace: its cables. cni0 is the kubelet's, flannel.1 the agent's, `lo` the edge's."""
    return name in {"eth0", "eth1"}
