"""The fixed part of the table `ip kube-proxy`: base chains, dispatch maps, checks, masquerading (semantics 8).

Which hook does what, and why there

    filter-prerouting, filter-output   before DNAT: loadBalancerSourceRanges, while the client's and the Service's
                                       addresses are still those the client meant
    nat-prerouting, nat-output         DNAT, for packets from pods and other hosts, and from the node's own processes
    filter-input, -forward,            what DNAT left alone. Services without usable endpoint: reject, or drop under a
    -output-post-dnat                  Local policy. Then ClusterIPs (not at input, they are nobody's own): a port that
                                       the address does not have is rejected, an address nobody has is dropped. Not in
                                       prerouting, where kernels before 5.9 cannot reject
    nat-postrouting                    masquerade what was marked on the way

kube-proxy up to 1.33 looks for Services without endpoint in filter-output, before DNAT; a Service with
externalTrafficPolicy Local and no endpoint here is then dropped for the node's own processes too, which must be
short-circuited to the endpoints elsewhere (semantics 6.4; kubernetes pull request 132456 mends it). After DNAT the
check meets exactly those packets that nothing served.

Node ports are looked up for this node's primary address only, never 127.0.0.1 (semantics 6.10, 6.11); that check is
needed at input alone, since a packet to the node's own address always arrives there, also when it comes over lo.
"""

from __future__ import annotations

from dataclasses import dataclass

from netlab.netfilter.ruleset import (
    AFTER_DNAT_PRIORITY,
    BEFORE_DNAT_PRIORITY,
    DNAT_PRIORITY,
    SNAT_PRIORITY,
    Base,
    Chain,
    ChainType,
    Fragment,
    Hook,
    Set,
)

FAMILY = "ip"
TABLE = "kube-proxy"
MASQUERADE_MARK = "0x4000"  # bit 14: this packet's source must be replaced by the node's (semantics 8.9)

SERVICES = "services"
MARK = "mark-for-masquerade"
MASQUERADING = "masquerading"
REJECT = "reject-chain"
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

BY_ADDRESS = "ipv4_addr . inet_proto . inet_service : verdict"
BY_PORT = "inet_proto . inet_service : verdict"
# The comments are kube-proxy's own words, as `nft list` shows them on a node.
COMMENT = "rules for kube-proxy"
SETS = (
    Set(SERVICE_IPS, BY_ADDRESS, comment="ClusterIP, ExternalIP and LoadBalancer IP traffic"),  # -> the chain that serves them
    Set(SERVICE_NODE_PORTS, BY_PORT, comment="NodePort traffic"),
    Set(NO_ENDPOINT_SERVICES, BY_ADDRESS, comment="vmap to drop or reject packets to services with no endpoints"),
    Set(NO_ENDPOINT_NODE_PORTS, BY_PORT, comment="vmap to drop or reject packets to service nodeports with no endpoints"),
    Set(FIREWALL_IPS, BY_ADDRESS, comment="destinations that are subject to LoadBalancerSourceRanges"),  # -> their firewall
    Set(CLUSTER_IPS, "ipv4_addr", comment="Active ClusterIPs"),
    Set(NODE_PORT_IPS, "ipv4_addr", comment="IPs that accept NodePort traffic"),
)
REJECT_COMMENT = f"helper for @{NO_ENDPOINT_SERVICES} / @{NO_ENDPOINT_NODE_PORTS}"
INVALID_PORT, UNALLOCATED = "Reject traffic to invalid ports of ClusterIPs", "Drop traffic to unallocated ClusterIPs"

NEW = "ct state new jump"
# name, type, hook, priority, rules
BASE_CHAINS: tuple[tuple[str, ChainType, Hook, int, tuple[str, ...]], ...] = (
    ("filter-prerouting", ChainType.FILTER, Hook.PREROUTING, BEFORE_DNAT_PRIORITY, (f"{NEW} {FIREWALL_CHECK}",)),
    (
        "filter-input",
        ChainType.FILTER,
        Hook.INPUT,
        BEFORE_DNAT_PRIORITY,
        (f"{NEW} {NODE_PORT_CHECK}", f"{NEW} {SERVICE_CHECK}"),
    ),
    (
        "filter-forward",
        ChainType.FILTER,
        Hook.FORWARD,
        BEFORE_DNAT_PRIORITY,
        (f"{NEW} {SERVICE_CHECK}", f"{NEW} {CLUSTER_IP_CHECK}"),
    ),
    ("filter-output", ChainType.FILTER, Hook.OUTPUT, BEFORE_DNAT_PRIORITY, (f"{NEW} {FIREWALL_CHECK}",)),
    (
        "filter-output-post-dnat",
        ChainType.FILTER,
        Hook.OUTPUT,
        AFTER_DNAT_PRIORITY,
        (f"{NEW} {SERVICE_CHECK}", f"{NEW} {CLUSTER_IP_CHECK}"),
    ),
    ("nat-prerouting", ChainType.NAT, Hook.PREROUTING, DNAT_PRIORITY, (f"jump {SERVICES}",)),
    ("nat-output", ChainType.NAT, Hook.OUTPUT, DNAT_PRIORITY, (f"jump {SERVICES}",)),
    ("nat-postrouting", ChainType.NAT, Hook.POSTROUTING, SNAT_PRIORITY, (f"jump {MASQUERADING}",)),
)


@dataclass(frozen=True)
class ProxyConfig:
    """What the rules of a node depend on besides the Services.

    `cluster_cidr` (the pod subnet of the whole cluster) tells pods from everything else (kube-proxy's detectLocalMode
    ClusterCIDR). The node's own podCIDR would do for traffic that starts on this node, and nothing else should reach a
    ClusterIP here; but if a packet of a remote pod does (an external address routed through this node), the pod's
    address is kept with ClusterCIDR and lost with NodeCIDR, and replies find a pod from any node without our help.
    """

    node_ip: str
    cluster_cidr: str
    service_cidr: str
    masquerade_all: bool = False  # also pods' traffic to ClusterIPs (semantics 6.7)


def frame(config: ProxyConfig) -> Fragment:
    """Return the chains and sets that are there whatever Services exist."""
    base = [Chain(name, rules, Base(kind, hook, priority)) for name, kind, hook, priority, rules in BASE_CHAINS]
    by_address = "ip daddr . meta l4proto . th dport vmap"
    by_node_port = f"ip daddr @{NODE_PORT_IPS} meta l4proto . th dport vmap"
    regular = (
        Chain(SERVICES, (f"{by_address} @{SERVICE_IPS}", f"{by_node_port} @{SERVICE_NODE_PORTS}")),
        Chain(FIREWALL_CHECK, (f"{by_address} @{FIREWALL_IPS}",)),
        Chain(SERVICE_CHECK, (f"{by_address} @{NO_ENDPOINT_SERVICES}",)),
        Chain(NODE_PORT_CHECK, (f"{by_node_port} @{NO_ENDPOINT_NODE_PORTS}",)),
        Chain(
            CLUSTER_IP_CHECK,
            (
                f'ip daddr @{CLUSTER_IPS} reject comment "{INVALID_PORT}"',
                f'ip daddr {config.service_cidr} drop comment "{UNALLOCATED}"',
            ),
        ),
        Chain(REJECT, ("reject",), comment=REJECT_COMMENT),
        Chain(MARK, (f"meta mark set meta mark | {MASQUERADE_MARK}",)),
        Chain(
            MASQUERADING,
            (
                f"meta mark & {MASQUERADE_MARK} == 0 return",
                # The mark goes before the packet does: inside VXLAN it would travel on with the outer packet (18.6).
                f"meta mark set meta mark ^ {MASQUERADE_MARK}",
                "masquerade fully-random",
            ),
        ),
    )
    return Fragment.of((*base, *regular), SETS, {NODE_PORT_IPS: {config.node_ip: ""}})
