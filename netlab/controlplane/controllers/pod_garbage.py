"""Pods of nodes that no longer exist: no kubelet is left to stop them, so they are deleted without grace.

A node that the lab lists and that has not registered yet does not count. Pods without a node that are to be deleted
are removed by the API server itself.
"""

from __future__ import annotations

from collections.abc import Collection

from netlab.api.pods import Pod
from netlab.api.resources import NODES
from netlab.controlplane.controllers.per_object import Step, each
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import delete


def reconcile(world: World, _now: str) -> list[Step]:
    """Return the deletions of pods whose node is gone."""
    if world.lab is None:
        return []
    known = world.nodes.keys() | world.expected_nodes
    pods = (world.pods[key] for key in sorted(world.pods))
    return each(pods, lambda pod: [delete(pod, grace_period_seconds=0)] if is_lost(world, pod, known) else [])


def is_lost(world: World, pod: Pod, known: Collection[str]) -> bool:
    """Return whether a pod's node is gone; a Node object that cannot be read is there."""
    node = pod.spec.node_name
    return bool(node) and node not in known and not world.is_unreadable(NODES, node)
