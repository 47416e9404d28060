"""Node IPAM: spec.podCIDR for every Node, which flannel takes as the node's lease (semantics 2.8).

The range follows from the node's address (172.30.1.3 -> 10.244.3.0/24), so that it is the same whichever node
registers first. A node with an address of its own choosing gets the lowest free range.
"""

from __future__ import annotations

from itertools import count

from netlab.api.cluster import Node
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, event, patch
from netlab.errors import InvalidTopologyError
from netlab.ipam import AddressPlan

COMPONENT = "node-ipam-controller"


def reconcile(world: World, now: str) -> list[Write]:
    """Return the pod ranges of the nodes that have none."""
    if world.lab is None:
        return []
    plan = AddressPlan.of(world.lab)
    taken = {node.spec.pod_cidr for node in world.nodes.values() if node.spec.pod_cidr}
    waiting = [node for node in world.nodes.values() if not node.spec.pod_cidr and node.internal_ip]
    writes: list[Write] = []
    for node in sorted(waiting, key=lambda node: (plan.node_index(node.internal_ip) is None, node.metadata.name)):
        try:
            cidr = _range(plan, node, taken)
        except InvalidTopologyError as error:
            message = f"Node {node.metadata.name} status is now: CIDRNotAvailable: {error}"
            writes.append(event(node, now, reason="CIDRNotAvailable", message=message, component=COMPONENT, warning=True))
            continue
        taken.add(cidr)
        writes.append(patch(node, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}))
    return writes


def _range(plan: AddressPlan, node: Node, taken: set[str]) -> str:
    own = plan.node_index(node.internal_ip)
    if own is not None and plan.pod_cidr(own) not in taken:
        return plan.pod_cidr(own)
    return next(cidr for index in count(1) if (cidr := plan.pod_cidr(index)) not in taken)
