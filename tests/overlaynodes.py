"""Nodes of a lab called `lab`, each with its address, its pod range and its lease, for the tests of the overlay."""

from __future__ import annotations

from netlab.api.cluster import Node, NodeAddress, NodeSpec, NodeStatus
from netlab.api.lab import Lab
from netlab.api.meta import ObjectMeta
from netlab.overlay.vxlan import lease_annotations, vtep_mac

LAB = Lab(metadata=ObjectMeta(name="lab"))


def node(number: int, **annotations: str) -> Node:
    """Return node `number`, with these annotations in place of what it announces."""
    name, address = f"node{number}", f"172.30.1.{number}"
    announced = lease_annotations(address, vtep_mac("lab", name, {}))
    return Node(
        metadata=ObjectMeta(name=name, annotations={**announced, **annotations}),
        spec=NodeSpec(pod_cidr=f"10.244.{number}.0/24"),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),)),
    )
