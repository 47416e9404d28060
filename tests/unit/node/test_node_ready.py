"""When a node is ready."""

from __future__ import annotations

import json

import pytest

from netlab.api.cluster import Node, NodeStatus
from netlab.api.coordination import Lease, LeaseSpec
from netlab.api.meta import Condition, ObjectMeta
from netlab.api.wellknown import EDGE_LEASE, SYNCED, node_lease
from netlab.node.kubelet_nodes import ready_condition

NOW = 1_800_000_000.0
FRESH, STALE = "2027-01-15T07:59:55.000000Z", "2027-01-15T07:59:00.000000Z"


def lease(nodes, renewed=FRESH):
    """Return the Lease of somebody who holds the nodes up to a version; None: who has not reported."""
    annotations = {} if nodes is None else {SYNCED: json.dumps({"nodes": str(nodes)})}
    return Lease(metadata=ObjectMeta(annotations=annotations), spec=LeaseSpec(lease_duration_seconds=40, renew_time=renewed))


def node(status=""):
    ready = (Condition(type="Ready", status=status),) if status else ()
    return Node(metadata=ObjectMeta(name="new", resource_version="7"), status=NodeStatus(conditions=ready))


ROWS = [
    ("alone", "", True, {"new": lease(7)}, "True"),
    ("no namespace", "", False, {"new": lease(7)}, "False"),
    ("no agent", "", True, {}, "False"),
    ("its agent has not reported", "", True, {"new": lease(None)}, "False"),
    ("its agent is behind itself", "", True, {"new": lease(6)}, "False"),
    ("known to all", "False", True, {"new": lease(7), "old": lease(9), "edge": lease(7)}, "True"),
    ("another node has no route yet", "", True, {"new": lease(7), "old": lease(6)}, "False"),
    ("the edge has no route yet", "", True, {"new": lease(7), "edge": lease(6)}, "False"),
    ("somebody has not begun", "", True, {"new": lease(7), "old": lease(None)}, "True"),
    ("somebody has died", "", True, {"new": lease(7), "old": lease(6, STALE)}, "True"),
    ("it was ready before", "True", True, {"new": lease(6), "old": lease(6)}, "True"),
    ("it was ready, and lost its namespace", "True", False, {"new": lease(7)}, "False"),
]


@pytest.mark.parametrize(("before", "stands", "leases", "status"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_ready(before, stands, leases, status):
    """A node is ready when it stands, has reported, and everybody who lives knows it."""
    by_key = {EDGE_LEASE if name == "edge" else node_lease(name): held for name, held in leases.items()}
    conditions = ready_condition(node(before), stands, by_key, NOW)

    assert conditions is not None
    assert [status] == [condition.status for condition in conditions]


def test_nothing_to_write():
    """A condition that is right already is not written again."""
    leases = {node_lease("new"): lease(7)}
    conditions = ready_condition(node(), True, leases, NOW)
    same = Node(metadata=ObjectMeta(name="new", resource_version="8"), status=NodeStatus(conditions=conditions))

    assert ready_condition(same, True, leases, NOW) is None
