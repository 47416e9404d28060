"""cni0: the bridge that joins a node's pods, and the node's own foot in their subnet (semantics 3.25, 3.26).

- It holds the gateway address of the node's pod subnet (x.x.x.1/24), so the node routes for its pods and has a connected
  route to them; the CNI bridge plugin calls this isGateway and turns ip_forward on.
- Every pod's port is in hairpin mode: a pod that reaches itself through a Service leaves and enters by the same port
  (semantics 6.8, 18.2).
- Its MAC address is made from its IP address, as `pod.mac_of` does for pods: a later owner of the
  address has the MAC, too, so no neighbour ever holds a stale one.
- That a Service between two of its pods works needs br_netfilter (semantics 7.19, 18.1): `fabric.NODE_SYSCTLS` has it.
"""

from __future__ import annotations

from ipaddress import ip_network

from netlab.dataplane.names import ownership_mark
from netlab.dataplane.pod import mac_of
from netlab.dataplane.state import Address, Bridge, Link, NamespaceState
from netlab.family import Family

CNI_BRIDGE = "cni0"
POD_MTU = 1450  # the underlay's 1500 less VXLAN's 50 (semantics 2.14, 2.36)


def gateway_of(subnet: str) -> str:
    """Return the gateway address of a node's pod subnet with its prefix length: `10.244.1.0/24` -> `10.244.1.1/24`."""
    network = ip_network(subnet)
    return f"{network.network_address + 1}/{network.prefixlen}"


def cni_bridge(lab: str, subnet: str, *, mtu: int = POD_MTU) -> NamespaceState:
    """Return what a node holds for its pods together: the bridge and the gateway address. Ports: `pod.node_link`."""
    gateway = gateway_of(subnet)
    return NamespaceState(
        links=(
            Link(
                name=CNI_BRIDGE,
                kind=Bridge(),
                mac=mac_of(gateway),
                mtu=mtu,
                alias=ownership_mark(lab, CNI_BRIDGE),
            ),
        ),
        addresses=(Address(CNI_BRIDGE, gateway),),
        sysctls={Family.of(gateway).forwarding: "1"},
    )
