"""A pod's sandbox: what its own namespace holds, and its port on the node (semantics 1.1, 2.36, 3.25).

        pod                          node
        eth0 10.244.1.2/24  ------   veth1a2b3c4d, port of cni0 in hairpin mode
        default via 10.244.1.1 (cni0)

- The node's end makes the pair; the far end appears in the pod's namespace, down. The pod's own state then gives it
  address and route and sets it up, so not one packet leaves a pod before its settings are right.
- Both routes are the ones the CNI bridge plugin and flannel give: the default, and the whole pod network.
- The MAC address is made from the address (0a:58 + its last four bytes, as the CNI plugins do): an address that is used again
  by another pod keeps its MAC, and no neighbour holds a stale one (semantics 3.26). arp_notify announces it besides.
- Both MAC addresses are thus known, and pod and node have permanent neighbor entries for each other. The kernel counts only
  learned entries against net.ipv4.neigh.default.gc_thresh3, 1,024 for all namespaces of the machine together: without the
  permanent ones some 450 pods that talk fill it, and packets are lost.
- `lo` is up from the creation of the namespace on (semantics 3.30).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_interface

from netlab.dataplane.names import mac_address, ownership_mark, pod_link
from netlab.dataplane.state import Address, Link, NamespaceState, Neighbour, Route, Veth
from netlab.family import Family

POD_INTERFACE = "eth0"
NO_IPV6 = {"net/ipv6/conf/all/disable_ipv6": "1"}  # no MLD, no RS in captures; `all` sets `default` and every device
LOOPBACK_UP = Link("lo")  # as every namespace is born; stated, as somebody can take it down
LOOPBACK = Address("lo", Family.IPV4.loopback_address)  # likewise
POD_SYSCTLS = {
    **NO_IPV6,
    "net/ipv4/conf/eth0/arp_notify": "1",  # gratuitous ARP when it comes up again
}


@dataclass(frozen=True)
class Sandbox:
    """One pod as its node sees it. `address` has the node's prefix length; `path` is the pod's network namespace."""

    lab: str
    namespace: str
    pod: str
    uid: str
    path: str
    address: str  # 10.244.1.2/24
    gateway: str  # 10.244.1.1
    pod_subnet: str  # the cluster's: 10.244.0.0/16
    mtu: int = 1450

    @property
    def link(self) -> str:
        """The name of its port on the node."""
        return pod_link(self.lab, self.namespace, self.pod, self.uid)


def mac_of(address: str) -> str:
    """Return the MAC address for an address: `10.244.1.2/24` -> `0a:58:0a:f4:01:02`."""
    return ":".join(f"{byte:02x}" for byte in (0x0A, 0x58, *ip_interface(address).ip.packed[-4:]))


def pod_state(sandbox: Sandbox) -> NamespaceState:
    """Return what the pod's own namespace holds."""
    return NamespaceState(
        links=(
            LOOPBACK_UP,
            Link(
                name=POD_INTERFACE,
                mac=mac_of(sandbox.address),
                mtu=sandbox.mtu,
                alias=ownership_mark(sandbox.lab, f"{sandbox.namespace}/{sandbox.pod}"),
            ),
        ),
        addresses=(LOOPBACK, Address(POD_INTERFACE, sandbox.address)),
        routes=(
            Route(Family.of(sandbox.address).any, POD_INTERFACE, gateway=sandbox.gateway),
            Route(sandbox.pod_subnet, POD_INTERFACE, gateway=sandbox.gateway),
        ),
        neighbours=(Neighbour(POD_INTERFACE, sandbox.gateway, mac_of(sandbox.gateway)),),
        sysctls=dict(POD_SYSCTLS),
    )


def node_link(sandbox: Sandbox, *, bridge: str = "cni0") -> Link:
    """Return the pod's port on its node; adding it makes the pair."""
    return Link(
        name=sandbox.link,
        kind=Veth(peer_name=POD_INTERFACE, peer_namespace=sandbox.path, peer_mac=mac_of(sandbox.address)),
        mac=mac_address(sandbox.lab, sandbox.link),
        mtu=sandbox.mtu,
        master=bridge,
        hairpin=True,
        alias=ownership_mark(sandbox.lab, f"{sandbox.namespace}/{sandbox.pod}"),
    )


def node_neighbour(address: str, *, bridge: str = "cni0") -> Neighbour:
    """Return the node's permanent entry for the pod with an address, which may have a prefix length."""
    return Neighbour(bridge, address.partition("/")[0], mac_of(address))


def owns(name: str) -> bool:
    """Answer `diff` for a pod's namespace: netlab is responsible for eth0 alone."""
    return name == POD_INTERFACE
