"""The tables of one node, as its agent writes them and as a tester may compare them. Pure."""

from __future__ import annotations

from netlab.api.cluster import Node
from netlab.api.lab import Networking
from netlab.netfilter.ruleset import Ruleset
from netlab.proxy.frame import ProxyConfig
from netlab.proxy.masquerade import flannel_rules
from netlab.proxy.nftables import NftablesCompiler
from netlab.proxy.servicemap import ServicePortMap


class NodeTables:
    """Computes the tables of a node; the address and the networks are those of the first time."""

    def __init__(self, node: Node, networking: Networking) -> None:
        self._pods = networking.pod_subnet
        self._compiler = NftablesCompiler(ProxyConfig(node.internal_ip, networking.pod_subnet, networking.service_subnet))

    def wanted(self, node: Node, services: ServicePortMap) -> tuple[Ruleset, ...]:
        """Return what leaves the pod network, once the node has pods, and the Services."""
        flannel = (flannel_rules(self._pods, node.spec.pod_cidr),) if node.spec.pod_cidr else ()
        return (*flannel, self._compiler.compile(services))
