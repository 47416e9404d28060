"""Node IPAM: spec.podCIDR for every Node, which flannel takes as the node's lease (semantics 2.8).

The range follows from the node's address (172.30.1.3 -> 10.244.3.0/24), so that it is the same whichever node
registers first. A node with an address that it chose itself gets the lowest free range.
"""

from __future__ import annotations

from itertools import count
from operator import itemgetter

from netlab.api.cluster import Node
from netlab.controlplane.controllers.per_object import Step, collect, each
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, event, patch
from netlab.errors import InvalidTopologyError
from netlab.ipam import AddressPlan

COMPONENT = "node-ipam-controller"


def reconcile(world: World, now: str) -> list[Step]:
    """Return the pod ranges of the nodes that have none."""
    if world.lab is None:
        return []
    plan = AddressPlan.of(world.lab)
    nodes = world.nodes.values()
    seen, failures = collect(nodes, lambda node: (node.spec.pod_cidr, _place(plan, node), node))
    taken = {cidr for cidr, _, _ in seen if cidr}
    waiting = [(place, node) for cidr, place, node in seen if not cidr and node.internal_ip]
    ordered = [node for _, node in sorted(waiting, key=itemgetter(0))]
    return [*failures, *each(ordered, lambda node: _allocate(plan, node, taken, now))]


def _place(plan: AddressPlan, node: Node) -> tuple[bool, str]:
    """Return when a node's turn is: first those whose range follows from their address."""
    return plan.node_index(node.internal_ip) is None, node.metadata.name


def _allocate(plan: AddressPlan, node: Node, taken: set[str], now: str) -> list[Write]:
    """Return the range of one node, taken from then on."""
    try:
        cidr = _range(plan, node, taken)
    except InvalidTopologyError as error:
        message = f"Node {node.metadata.name} status is now: CIDRNotAvailable: {error}"
        return [event(node, now, reason="CIDRNotAvailable", message=message, component=COMPONENT, warning=True)]
    taken.add(cidr)
    return [patch(node, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})]


def _range(plan: AddressPlan, node: Node, taken: set[str]) -> str:
    own = plan.node_index(node.internal_ip)
    if own is not None and plan.pod_cidr(own) not in taken:
        return plan.pod_cidr(own)
    return next(cidr for index in count(1) if (cidr := plan.pod_cidr(index)) not in taken)
