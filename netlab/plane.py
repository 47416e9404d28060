"""A node's network plane: an ordered tuple of parts, each of which says what the node should hold.

A part is pure: `wanted(view)` returns links and routes (`dataplane.owned`) or nft tables, together
with the objects that it cannot use; `stale_flows` returns the flows of conntrack that went by other
rules. The node's agent keeps the parts (`node.agent_parts`), a tester compares them with what the
node holds (`probe.hints_rules`), and both compute the same from the same objects.

    Overlay       Nodes                     devices, routes    `overlay.backends`
    Masquerade    the own Node              table flannel-ipv4 `overlay.masquerade`
    ServiceProxy  Services, EndpointSlices  table kube-proxy   `proxy.modes`

Parts of one keeper change together: all tables in one transaction, so that no packet meets the new
rules of one part and the old rules of another. A keeper is also what the Lease counts and names
(`node.agent_plane`): an overlay that cannot be programmed stops no rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from netlab.api import values
from netlab.api.cluster import Node
from netlab.api.lab import Lab
from netlab.dataplane.flows import FlowFilter
from netlab.dataplane.owned import OwnedState
from netlab.dataplane.state import NamespaceState
from netlab.errors import InvalidValueError
from netlab.family import IN_USE, Family
from netlab.netfilter.ruleset import Ruleset
from netlab.overlay.backends import backend
from netlab.overlay.masquerade import flannel_rules
from netlab.proxy.frame import ProxyConfig
from netlab.proxy.modes import MODES, Mode
from netlab.proxy.serviceport import ServicePortMap

OVERLAY: Final = "overlay"
RULES: Final = "rules"


@dataclass(frozen=True)
class View:
    """The objects from which a node computes its plane; `node` is its own."""

    node: Node
    nodes: tuple[Node, ...] = ()
    services: ServicePortMap = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What a node should hold of one part: links and routes, tables, or nothing yet.

    `refused`: the objects that the part cannot use, and why; `awaited`: those that are incomplete.
    """

    state: OwnedState | None = None
    tables: tuple[Ruleset, ...] = ()
    refused: Mapping[str, Exception] = field(default_factory=dict)
    awaited: Mapping[str, str] = field(default_factory=dict)

    def explain(self, observed: NamespaceState) -> tuple[str, ...]:
        """Return how links and routes differ from what is wanted: the commands that repair them."""
        return tuple(map(str, self.state.difference(observed))) if self.state else ()


class Part(Protocol):
    """One part of the plane of one node. It may remember what it computed before."""

    name: str
    keeper: str  # OVERLAY or RULES
    noun: str  # what a fragment of its state or tables belongs to: node, service
    watched: frozenset[str] = frozenset()  # devices of which a change is repaired at once

    def wanted(self, view: View) -> Wanted:
        """Return what the node should hold.

        Raises InvalidValueError if the own Node object has invalid addresses.
        """

    def stale_flows(self, before: View | None, now: View) -> tuple[FlowFilter, ...]:
        """Return the flows to forget after the tables of `now` replaced those of `before`.

        None as `before`: the former tables are not known.
        """
        del before, now
        return ()


class Overlay(Part):
    """How packets reach the pods of other nodes."""

    name, keeper, noun = "overlay", OVERLAY, "node"

    def __init__(self, lab: Lab, family: Family) -> None:
        self._backend = backend(lab.metadata.name, lab.spec.networking, family)
        self.watched = frozenset(self._backend.watched)

    def wanted(self, view: View) -> Wanted:
        """Return the devices and routes of the backend, once the node has a podCIDR."""
        if not view.node.spec.pod_cidr:
            return Wanted()
        overlay = self._backend.overlay(view.node, view.nodes)
        wrong = [problem for problem in overlay.ignored if problem.wrong]
        return Wanted(
            overlay.state,
            refused={f"node {p.node}": InvalidValueError(f"{p.reason.rstrip('.')}.") for p in wrong},
            awaited={f"node {p.node}": p.reason for p in overlay.ignored if not p.wrong},
        )


class Masquerade(Part):
    """What leaves the pod network under the node's address."""

    name, keeper, noun = "masquerade", RULES, "node"

    def __init__(self, lab: Lab, family: Family) -> None:
        self._pods = lab.spec.networking.pod_subnet
        self._family = family

    def wanted(self, view: View) -> Wanted:
        """Return flannel's table, once the node has a podCIDR; an invalid one leaves it out."""
        node = view.node
        if not node.spec.pod_cidr:
            return Wanted()
        try:
            own = values.cidr(node.spec.pod_cidr, "spec.podCIDR", self._family)
        except InvalidValueError as error:
            return Wanted(refused={f"node {node.metadata.name}": error})
        return Wanted(tables=(flannel_rules(self._family, self._pods, own),))


class ServiceProxy(Part):
    """How Services are reached; address and networks are those of the first view."""

    name, keeper, noun = "proxy", RULES, "service"

    def __init__(self, lab: Lab, family: Family) -> None:
        self._networking = lab.spec.networking
        self._family = family
        self._made: Mode | None = None

    def wanted(self, view: View) -> Wanted:
        """Return the tables of the proxy's mode."""
        return Wanted(tables=self._mode(view).tables(view.services))

    def stale_flows(self, before: View | None, now: View) -> tuple[FlowFilter, ...]:
        """Return the flows to Services whose rules have changed."""
        old = before.services if before else None
        node_ip = now.node.internal_ip_of(self._family)
        return self._mode(now).stale_flows(old, now.services, [node_ip])

    def _mode(self, view: View) -> Mode:
        if self._made is None:
            network, node_ip = self._networking, view.node.address_of(self._family)
            config = ProxyConfig(self._family, node_ip, network.pod_subnet, network.service_subnet)
            self._made = MODES[network.kube_proxy_mode](config)
        return self._made


PARTS: Final = (Overlay, Masquerade, ServiceProxy)


def parts(lab: Lab) -> tuple[Part, ...]:
    """Return the parts of one node of a lab, in the order in which they are kept."""
    return tuple(part(lab, family) for part in PARTS for family in IN_USE)
