"""When a node is ready."""

from __future__ import annotations

import json

import pytest

from netlab.api.cluster import Node, NodeStatus
from netlab.api.coordination import Lease, LeaseSpec
from netlab.api.meta import Condition, ObjectMeta
from netlab.api.pods import Container, Pod, PodSpec
from netlab.api.wellknown import EDGE_LEASE, SYNCED, node_lease
from netlab.node.kubelet.nodes import NODE_GRACE_SECONDS, SILENT, Heartbeats, has_lost_pods, held_by_members, ready_condition
from netlab.node.kubelet.status import PodView, pod_status
from netlab.node.pods.containers import ContainerRecord, started
from netlab.node.pods.readiness import initial

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
    conditions = ready_condition(node(before), stands, by_key, (), NOW)

    assert conditions is not None
    assert [status] == [condition.status for condition in conditions]


def test_a_node_that_has_left_is_not_waited_for():
    """Its agent has ended, and its Lease is valid for 40 seconds more: without it the new node is ready at once."""
    leases = {node_lease("new"): lease(7), node_lease("left"): lease(6), EDGE_LEASE: lease(7)}
    (waiting,) = ready_condition(node(), True, leases, (), NOW) or ()
    (ready,) = ready_condition(node(), True, held_by_members(leases, ["new"]), (), NOW) or ()

    assert (waiting.status, ready.status) == ("False", "True")
    assert set(held_by_members(leases, ["new"])) == {node_lease("new"), EDGE_LEASE}


def test_nothing_to_write():
    """A condition that is right already is not written again."""
    leases = {node_lease("new"): lease(7)}
    conditions = ready_condition(node(), True, leases, (), NOW)
    same = Node(metadata=ObjectMeta(name="new", resource_version="8"), status=NodeStatus(conditions=conditions))

    assert ready_condition(same, True, leases, (), NOW) is None


SILENCE = [
    ("its agent is silent", "True", True, {"new"}, "Unknown"),
    ("its agent is silent, and was never heard", "", True, {"new"}, "Unknown"),
    ("its namespace is gone as well", "True", False, {"new"}, "False"),
    ("another's agent is silent", "True", True, {"old"}, "True"),
    ("nobody waits for a silent one", "", True, {"old"}, "True"),
    ("it reports again, and all know it", "Unknown", True, {}, "True"),
]


@pytest.mark.parametrize(("before", "stands", "silent", "status"), [row[1:] for row in SILENCE], ids=[row[0] for row in SILENCE])
def test_silent(before, stands, silent, status):
    """A node whose agent does not renew its Lease is Unknown, in Kubernetes' words; the silence of others does not matter."""
    leases = {"new": lease(7), "old": lease(6 if silent else 7)}
    by_key = {node_lease(name): held for name, held in leases.items()}

    (condition,) = ready_condition(node(before), stands, by_key, {node_lease(name) for name in silent}, NOW) or (None,)

    if condition is None:  # as it was before: no reason was given there
        assert before == status
        return
    assert status == condition.status
    assert (status == "Unknown") == ((condition.status, condition.reason, condition.message) == SILENT)


@pytest.mark.parametrize(
    ("status", "reason", "message", "lost"),
    [
        ("True", "KubeletReady", "kubelet is posting ready status", False),
        ("False", "KubeletNotReady", "container runtime network not ready: other nodes have no route to the node yet", False),
        ("False", "KubeletNotReady", "the node has no network namespace, or its container has ended", True),
        ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.", True),
    ],
)
def test_pods_of_a_node(status, reason, message, lost):
    """Pods lose their readiness with a node that was up, not with one that is coming up."""
    ready = Condition(type="Ready", status=status, reason=reason, message=message)

    assert lost == has_lost_pods(Node(status=NodeStatus(conditions=(ready,))))
    assert not has_lost_pods(None)
    assert not has_lost_pods(Node())


# When a Lease is seen with which renewTime, in seconds of the kubelet's own clock; who is silent at the last look.
HEARTBEATS = [
    ("renewed every ten seconds", [(0, "a"), (10, "b"), (20, "c"), (30, "d"), (40, "e"), (50, "f")], False),
    ("just under the grace", [(0, "a"), (10, "a"), (20, "a"), (30, "a"), (39.9, "a")], False),
    ("the grace is over", [(0, "a"), (10, "a"), (20, "a"), (30, "a"), (40, "a")], True),
    ("it was heard again", [(0, "a"), (10, "a"), (20, "a"), (30, "a"), (40, "a"), (50, "b")], False),
    (
        "the machine's clock was set back: another time is news",
        [(0, "12:00"), (10, "11:00"), (20, "11:00"), (45, "11:01")],
        False,
    ),
    ("a new kubelet gives everybody the grace", [(5000, "a")], False),
    ("the kubelet itself was stopped: nobody could be seen", [(0, "a"), (10, "a"), (500, "a"), (510, "a")], False),
    ("and what was silent before goes on being so", [(0, "a"), (10, "a"), (500, "a"), (515, "a"), (530, "a")], True),
]


@pytest.mark.parametrize(("looks", "silent"), [row[1:] for row in HEARTBEATS], ids=[row[0] for row in HEARTBEATS])
def test_heartbeats(looks, silent):
    """A holder is silent when the kubelet has not seen its Lease change for the grace, while it was looking."""
    heartbeats = Heartbeats()
    for now, renewed in looks:
        heartbeats.observe({"lease": lease(1, renewed)}, now)

    assert ({"lease"} if silent else set()) == heartbeats.silent()


def test_heartbeats_of_a_lease_that_is_gone():
    """A Lease that was deleted is forgotten; the next of its name has the whole grace."""
    heartbeats = Heartbeats()
    for now, leases in ((0, {"a": lease(1)}), (10, {}), (NODE_GRACE_SECONDS + 5, {"a": lease(1)})):
        heartbeats.observe(leases, now)

    assert set() == heartbeats.silent()


@pytest.mark.parametrize(("lost", "ready"), [(False, "True"), (True, "False")])
def test_pods_ready_condition(lost, ready):
    """As the node lifecycle controller marks the pods of a node that is lost: not Ready, their containers unchanged."""
    pod = Pod(metadata=ObjectMeta(name="p", uid="u"), spec=PodSpec(containers=(Container(name="c"),)))
    record = started(ContainerRecord(), now=NOW, readiness=initial(None))
    view = PodView("10.244.1.2", "172.30.1.1", sandbox_ready=True, node_lost=lost, records={"c": record})

    conditions = {c.type: c.status for c in pod_status(pod, view, NOW).conditions}

    assert (ready, "True") == (conditions["Ready"], conditions["ContainersReady"])
