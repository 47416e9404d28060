"""The tables of one node, as its agent writes them and as a tester may compare them. Pure."""

from __future__ import annotations

from netlab.api import values
from netlab.api.cluster import Node
from netlab.api.lab import Networking
from netlab.containment import Contained
from netlab.netfilter.ruleset import Ruleset
from netlab.proxy.frame import ProxyConfig
from netlab.proxy.masquerade import flannel_rules
from netlab.proxy.nftables import NftablesCompiler
from netlab.proxy.servicemap import ServicePortMap


class NodeTables:
    """Computes the tables of a node; the address and the networks are those of the first time.

    Raises InvalidValueError when the node has no address that can be one. A podCIDR that cannot be one leaves out flannel's
    table alone (`refused`): the rules of Services do not need it.
    """

    def __init__(self, node: Node, networking: Networking) -> None:
        self._pods = networking.pod_subnet
        self._compiler = NftablesCompiler(ProxyConfig(node.address, networking.pod_subnet, networking.service_subnet))
        self.refused: dict[str, Exception] = {}

    def wanted(self, node: Node, services: ServicePortMap) -> tuple[Ruleset, ...]:
        """Return what leaves the pod network, once the node has pods, and the Services."""
        flannel: tuple[Ruleset, ...] = ()
        with Contained() as attempt:
            if node.spec.pod_cidr:
                flannel = (flannel_rules(self._pods, values.cidr(node.spec.pod_cidr, "spec.podCIDR")),)
        self.refused = {f"node {node.metadata.name}": attempt.error} if attempt.error else {}
        return (*flannel, self._compiler.compile(services))
