"""The tables of all compilers of rules for one Service with IPv6 addresses."""

from __future__ import annotations

from netlab.edge.frontends import Backend, Frontend
from netlab.edge.rules import Balancing, compile_rules
from netlab.family import Family
from netlab.netfilter.ruleset import Ruleset
from netlab.overlay.masquerade import flannel_rules
from netlab.proxy.endpoints import EndpointInfo, UsableEndpoints
from netlab.proxy.frame import ProxyConfig
from netlab.proxy.nftables import compile_services
from netlab.proxy.serviceport import ServicePortInfo

SERVICE, BALANCER, NODE, OTHER_NODE = "fd00:96::5", "2001:db8:100::1", "fd00:172::1", "fd00:172::2"
LOCAL, REMOTE, CLIENT, STRANGER = "fd00:244:1::5", "fd00:244:2::5", "2001:db8:113::10", "2001:db8:2::1"
PODS, OWN_PODS, SERVICES, ALLOWED = "fd00:244::/32", "fd00:244:1::/64", "fd00:96::/112", "2001:db8:113::/48"
ENDPOINTS = (EndpointInfo(LOCAL, 8080, local=True), EndpointInfo(REMOTE, 8080))
WEB = ServicePortInfo(
    "ns", "web", "http", "tcp", SERVICE, 80, 30080,
    load_balancer_ips=(BALANCER,), source_ranges=(ALLOWED,), affinity_timeout=60, external_local=True,
    endpoints=ENDPOINTS, usable=UsableEndpoints(ENDPOINTS, ENDPOINTS[:1], any_in_cluster=True),
)  # fmt: skip
NONE = ServicePortInfo("ns", "none", "", "udp", "fd00:96::6", 53)
EDGE_NODES = (Backend("node1", NODE), Backend("node2", OTHER_NODE))
FRONTEND = Frontend("ns", "web", "tcp", 80, 30080, (BALANCER,), (ALLOWED,), 60)

PROXY = compile_services(
    {"ns/none": (NONE,), "ns/web": (WEB,)},
    ProxyConfig(Family.IPV6, NODE, PODS, SERVICES),
)
FLANNEL = flannel_rules(Family.IPV6, PODS, OWN_PODS)
EDGE = compile_rules(Family.IPV6, Balancing({FRONTEND: EDGE_NODES}, EDGE_NODES))
TABLES: tuple[Ruleset, ...] = (PROXY, FLANNEL, EDGE)
