"""Pods of nodes that no longer exist: nobody is left to stop them, so they are deleted without grace.

A node that the lab lists and that has not registered yet is no such node. Pods without a node that are to be deleted
are removed by the API server itself.
"""

from __future__ import annotations

from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, delete


def reconcile(world: World, _now: str) -> list[Write]:
    """Return the deletions of pods whose node is gone."""
    if world.lab is None:
        return []
    known = world.nodes.keys() | world.expected_nodes
    return [
        delete(world.pods[key], grace_period_seconds=0)
        for key in sorted(world.pods)
        if world.pods[key].spec.node_name and world.pods[key].spec.node_name not in known
    ]
