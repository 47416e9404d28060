"""The tables of all compilers of rules for two Services with IPv6 addresses."""

from __future__ import annotations

from netlab.api.cluster import Node
from netlab.api.meta import ObjectMeta
from netlab.api.resources import ENDPOINT_SLICES, SERVICES
from netlab.edge.frontends import Backend, offered
from netlab.edge.rules import Balancing, compile_rules
from netlab.family import Family
from netlab.netfilter.ruleset import Ruleset
from netlab.overlay.masquerade import flannel_rules
from netlab.proxy.frame import ProxyConfig
from netlab.proxy.nftables import compile_services
from netlab.proxy.servicemap import build

SERVICE, EMPTY_SERVICE, BALANCER = "fd00:96::5", "fd00:96::6", "2001:db8:100::1"
NODE, OTHER_NODE, LOCAL, REMOTE = "fd00:172::1", "fd00:172::2", "fd00:244:1::5", "fd00:244:2::5"
CLIENT, STRANGER = "2001:db8:113::10", "2001:db8:2::1"
PODS, OWN_PODS, SERVICE_RANGE = "fd00:244::/32", "fd00:244:1::/64", "fd00:96::/112"

WEB = {
    "metadata": {"name": "web", "namespace": "ns"},
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": SERVICE,
        "ports": [{"name": "http", "port": 80, "nodePort": 30080}],
        "loadBalancerSourceRanges": ["2001:db8:113::/48", "203.0.113.0/24"],
        "externalTrafficPolicy": "Local",
        "sessionAffinity": "ClientIP",
    },
    "status": {"loadBalancer": {"ingress": [{"ip": BALANCER}]}},
}
EMPTY = {
    "metadata": {"name": "none", "namespace": "ns"},
    "spec": {"clusterIP": EMPTY_SERVICE, "ports": [{"port": 53, "protocol": "UDP"}]},
}
ENDPOINTS = {
    "metadata": {
        "name": "web-1",
        "namespace": "ns",
        "labels": {"kubernetes.io/service-name": "web"},
    },
    "addressType": "IPv6",
    "ports": [{"name": "http", "port": 8080}],
    "endpoints": [
        {"addresses": [LOCAL], "nodeName": "node1"},
        {"addresses": [REMOTE], "nodeName": "node2"},
    ],
}
OBJECTS = (
    [SERVICES.decode(WEB), SERVICES.decode(EMPTY)],
    [ENDPOINT_SLICES.decode(ENDPOINTS)],
    Node(metadata=ObjectMeta(name="node1")),
)
EDGE_NODES = (Backend("node1", NODE), Backend("node2", OTHER_NODE))
FRONTENDS = offered(OBJECTS[0], Family.IPV6).frontends

PROXY = compile_services(
    build(*OBJECTS, Family.IPV6),
    ProxyConfig(Family.IPV6, NODE, PODS, SERVICE_RANGE),
)
FLANNEL = flannel_rules(Family.IPV6, PODS, OWN_PODS)
EDGE = compile_rules(
    Family.IPV6,
    Balancing(dict.fromkeys(FRONTENDS, EDGE_NODES), EDGE_NODES),
)
TABLES: tuple[Ruleset, ...] = (PROXY, FLANNEL, EDGE)
