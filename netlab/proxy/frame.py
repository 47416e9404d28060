"""The fixed part of the table `kube-proxy` of a family: chains, maps, checks (semantics 8).

Which hook does what, and why there

    filter-prerouting, filter-output   before DNAT: loadBalancerSourceRanges, while the client's and the Service's
                                       addresses are still those the client meant
    nat-prerouting, nat-output         DNAT, for packets from pods and other hosts, and from the node's own processes
    filter-input, -forward,            what DNAT left alone. Services without usable endpoint: reject, or drop under a
    -output-post-dnat                  Local policy. Then ClusterIPs (not at input, they are nobody's own): a port that
                                       the address does not have is rejected, an address nobody has is dropped. Not in
                                       prerouting, where kernels before 5.9 cannot reject
    nat-postrouting                    masquerade what was marked on the way (`netlab.netfilter.blocks`)

kube-proxy up to 1.33 looks for Services without endpoint in filter-output, before DNAT; a Service with
externalTrafficPolicy Local and no endpoint here is then dropped for the node's own processes too, which must be
short-circuited to the endpoints elsewhere (semantics 6.4; kubernetes pull request 132456 mends it). After DNAT the
check meets exactly those packets that nothing served.

Node ports are looked up for this node's primary address only, never 127.0.0.1 (semantics 6.10, 6.11); that check is
needed at input alone, since a packet to the node's own address always arrives there, also when it comes over lo.
"""

from __future__ import annotations

from dataclasses import dataclass

from netlab.family import Family
from netlab.netfilter import blocks
from netlab.netfilter.ruleset import (
    AFTER_DNAT_PRIORITY,
    BEFORE_DNAT_PRIORITY,
    Base,
    Chain,
    ChainType,
    Fragment,
    Hook,
    Set,
)

TABLE = "kube-proxy"

SERVICES = "services"
MASQUERADING = "masquerading"
FIREWALL_CHECK = "firewall-check"
SERVICE_CHECK = "service-endpoints-check"
NODE_PORT_CHECK = "nodeport-endpoints-check"
CLUSTER_IP_CHECK = "cluster-ips-check"

SERVICE_IPS = "service-ips"
SERVICE_NODE_PORTS = "service-nodeports"
NO_ENDPOINT_SERVICES = "no-endpoint-services"
NO_ENDPOINT_NODE_PORTS = "no-endpoint-nodeports"
FIREWALL_IPS = "firewall-ips"
CLUSTER_IPS = "cluster-ips"
NODE_PORT_IPS = "nodeport-ips"

# The comments are kube-proxy's own words, as `nft list` shows them on a node.
COMMENT = "rules for kube-proxy"
REJECT_COMMENT = f"helper for @{NO_ENDPOINT_SERVICES} / @{NO_ENDPOINT_NODE_PORTS}"
INVALID_PORT = "Reject traffic to invalid ports of ClusterIPs"
UNALLOCATED = "Drop traffic to unallocated ClusterIPs"


def _filter(name: str, hook: Hook, priority: int, *checks: str) -> Chain:
    """Return a base chain that passes every new connection to some chains, in order."""
    rules = tuple(f"ct state new jump {check}" for check in checks)
    return Chain(name, rules, Base(ChainType.FILTER, hook, priority))


BASE_CHAINS = (
    _filter("filter-prerouting", Hook.PREROUTING, BEFORE_DNAT_PRIORITY, FIREWALL_CHECK),
    _filter("filter-input", Hook.INPUT, BEFORE_DNAT_PRIORITY, NODE_PORT_CHECK, SERVICE_CHECK),
    _filter("filter-forward", Hook.FORWARD, BEFORE_DNAT_PRIORITY, SERVICE_CHECK, CLUSTER_IP_CHECK),
    _filter("filter-output", Hook.OUTPUT, BEFORE_DNAT_PRIORITY, FIREWALL_CHECK),
    _filter("filter-output-post-dnat", Hook.OUTPUT, AFTER_DNAT_PRIORITY, SERVICE_CHECK, CLUSTER_IP_CHECK),
    Chain("nat-prerouting", (f"jump {SERVICES}",), blocks.NAT_PREROUTING),
    Chain("nat-output", (f"jump {SERVICES}",), blocks.NAT_OUTPUT),
    Chain("nat-postrouting", (f"jump {MASQUERADING}",), blocks.NAT_POSTROUTING),
)


@dataclass(frozen=True)
class ProxyConfig:
    """What the rules of a node depend on besides the Services.

    `cluster_cidr` (the pod subnet of the whole cluster) tells pods from everything else (kube-proxy's detectLocalMode
    ClusterCIDR). The node's own podCIDR would do for traffic that starts on this node, and nothing else should reach a
    ClusterIP here; but if a packet of a remote pod does (an external address routed through this node), the pod's
    address is kept with ClusterCIDR and lost with NodeCIDR, and replies find a pod from any node without our help.
    """

    family: Family
    node_ip: str
    cluster_cidr: str
    service_cidr: str
    masquerade_all: bool = False  # also pods' traffic to ClusterIPs (semantics 6.7)


def frame(config: ProxyConfig) -> Fragment:
    """Return the chains and sets that are there whatever Services exist."""
    family = config.family
    by_address, to_node = blocks.by_address(family), f"{family.nft} daddr @{NODE_PORT_IPS}"
    node_ports = f"{to_node} {blocks.BY_PORT.look_up(SERVICE_NODE_PORTS)}"
    no_endpoint_node_ports = f"{to_node} {blocks.BY_PORT.look_up(NO_ENDPOINT_NODE_PORTS)}"
    regular = (
        Chain(SERVICES, (by_address.look_up(SERVICE_IPS), node_ports)),
        Chain(FIREWALL_CHECK, (by_address.look_up(FIREWALL_IPS),)),
        Chain(SERVICE_CHECK, (by_address.look_up(NO_ENDPOINT_SERVICES),)),
        Chain(NODE_PORT_CHECK, (no_endpoint_node_ports,)),
        Chain(
            CLUSTER_IP_CHECK,
            (
                f'{family.nft} daddr @{CLUSTER_IPS} reject comment "{INVALID_PORT}"',
                f'{family.nft} daddr {config.service_cidr} drop comment "{UNALLOCATED}"',
            ),
        ),
        blocks.reject_chain(REJECT_COMMENT),
        blocks.MARKING,
        Chain(MASQUERADING, blocks.MASQUERADE_MARKED),
    )
    elements = {NODE_PORT_IPS: {config.node_ip: ""}}
    return Fragment.of((*BASE_CHAINS, *regular), _sets(family), elements)


def _sets(family: Family) -> tuple[Set, ...]:
    by_address = blocks.by_address(family)
    return (
        by_address.map(SERVICE_IPS, "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
        blocks.BY_PORT.map(SERVICE_NODE_PORTS, "NodePort traffic"),
        by_address.map(
            NO_ENDPOINT_SERVICES,
            "vmap to drop or reject packets to services with no endpoints",
        ),
        blocks.BY_PORT.map(
            NO_ENDPOINT_NODE_PORTS,
            "vmap to drop or reject packets to service nodeports with no endpoints",
        ),
        by_address.map(FIREWALL_IPS, "destinations that are subject to LoadBalancerSourceRanges"),
        Set(CLUSTER_IPS, family.set_type, comment="Active ClusterIPs"),
        Set(NODE_PORT_IPS, family.set_type, comment="IPs that accept NodePort traffic"),
    )
