from __future__ import annotations

import json

import msgspec
import pytest

from netlab.api.coordination import Lease
from netlab.api.discovery import Endpoint, EndpointSlice
from netlab.api.pods import Pod
from netlab.api.services import Service
from netlab.api.wellknown import LOAD_BALANCERS, SYNCED
from netlab.node.kubelet.drain import Sights, Withdrawal

POD = msgspec.convert({"metadata": {"name": "p", "namespace": "default", "uid": "u", "labels": {"app": "blue"}}}, Pod)
SERVICE = msgspec.convert({"metadata": {"name": "blue", "namespace": "default"}, "spec": {"selector": {"app": "blue"}}}, Service)
OTHER = msgspec.convert({"metadata": {"name": "x", "namespace": "other"}, "spec": {"selector": {"app": "blue"}}}, Service)


def endpoint_slice(version: str, *, uid: str = "u", terminating: bool = True) -> EndpointSlice:
    body = {
        "metadata": {
            "name": "blue-1",
            "namespace": "default",
            "resourceVersion": version,
            "labels": {"kubernetes.io/service-name": "blue"},
        },
        "endpoints": [{"addresses": ["10.244.1.2"], "conditions": {"terminating": terminating}, "targetRef": {"uid": uid}}],
    }
    return msgspec.convert(body, EndpointSlice)


def elsewhere(piece: EndpointSlice) -> EndpointSlice:
    """The slice of OTHER, which selects the same labels in another namespace."""
    meta = msgspec.structs.replace(piece.metadata, namespace="other", labels={"kubernetes.io/service-name": "x"})
    return msgspec.structs.replace(piece, metadata=meta)


def leases(**versions: str) -> list[Lease]:
    return [
        msgspec.convert({"metadata": {"name": name, "annotations": {SYNCED: json.dumps({"endpointslices": version})}}}, Lease)
        for name, version in versions.items()
    ]


def complete(services, slices, held, *, followed: int | None = 9, pod: Pod = POD, withdrawal: Withdrawal | None = None) -> bool:
    """Ask whether the pod is withdrawn; `followed` is the newest slice once the controller has followed the deletion."""
    return (withdrawal or Withdrawal()).is_complete(pod, lambda _pods: followed, Sights(services, slices, held))


@pytest.mark.parametrize(
    ("services", "slices", "followed", "held", "expected"),
    [
        pytest.param([], [], 0, {}, True, id="no Service, no slice, no node"),
        pytest.param([OTHER], [], 1, {"node1": "1"}, True, id="a Service of another namespace"),
        pytest.param([SERVICE], [], None, {"node1": "99"}, False, id="deleted before any slice was written for it"),
        pytest.param([SERVICE], [endpoint_slice("9", uid="other")], None, {"node1": "99"}, False, id="controller yet to follow"),
        pytest.param([SERVICE], [endpoint_slice("9", terminating=False)], 12, {"node1": "12"}, False, id="own copy is old"),
        pytest.param([SERVICE], [endpoint_slice("9")], 9, {"node1": "8"}, False, id="terminating, the only node is behind"),
        pytest.param([SERVICE], [endpoint_slice("9")], 9, {"node1": "9", "node2": "8"}, False, id="one of two nodes is behind"),
        pytest.param([SERVICE], [endpoint_slice("9")], 9, {"node1": "9", "edge": "7"}, False, id="the edge is behind"),
        pytest.param([SERVICE], [endpoint_slice("9")], 9, {"node1": "9", "node2": "12"}, True, id="all have acknowledged"),
        pytest.param([OTHER], [], 9, {"node1": "8"}, False, id="label removed, then deleted: the slice forgot it in version 9"),
        pytest.param(
            [SERVICE], [endpoint_slice("7", uid="b")], 9, {"node1": "8"}, False, id="its slice was deleted in version 9"
        ),
        pytest.param([SERVICE], [endpoint_slice("9", uid="b")], 9, {"node1": "8"}, False, id="readiness lost, slice without it"),
        pytest.param([SERVICE], [endpoint_slice("9", uid="b")], 9, {"node1": "9"}, True, id="and acknowledged"),
    ],
)
def test_a_pod_serves_until_every_node_has_acknowledged_its_withdrawal(services, slices, followed, held, expected):
    """S8: a pod is withdrawn when all Leases hold the newest slices of when the controller had followed its deletion."""
    assert expected == complete(services, slices, leases(**held), followed=followed)


def test_the_version_of_a_withdrawal_is_final():
    """Later changes of the slices do not make a pod wait longer; the deletion is that which was seen first."""
    withdrawal, asked = Withdrawal(), []

    def slices_after(pods):
        asked.append(pods)
        return {1: None, 2: 9}.get(len(asked), 20)

    ready_elsewhere = Sights([SERVICE], [slice_with("node2")], leases(node1="8"))
    for version in ("5", "6"):
        pod = msgspec.structs.replace(POD, metadata=msgspec.structs.replace(POD.metadata, resource_version=version))
        assert withdrawal.is_complete(pod, slices_after, ready_elsewhere) is False
    acknowledged = Sights([SERVICE], [slice_with("node2")], leases(node1="9"))

    assert withdrawal.is_complete(pod, slices_after, acknowledged) is True
    assert asked == [5, 5]


def test_the_last_resort_waits_for_its_replacement():
    """A pod without which its Service has no ready endpoint waits for the newest slices (semantics 5.3)."""
    withdrawal = Withdrawal()

    assert not complete([SERVICE], [endpoint_slice("9")], leases(node1="8"), followed=9, withdrawal=withdrawal)
    assert not complete([SERVICE], [slice_with("node2")], leases(node1="9"), followed=12, withdrawal=withdrawal)
    assert complete([SERVICE], [slice_with("node2")], leases(node1="12"), followed=15, withdrawal=withdrawal)


@pytest.mark.parametrize("text", ["nonsense", "[]", "{}", '{"endpointslices": "x"}', '{"endpointslices": 9}'])
def test_unreadable_lease_counts_as_behind(text):
    """A lease that does not say how far its holder is keeps the pod serving."""
    broken = [msgspec.convert({"metadata": {"annotations": {SYNCED: text}}}, Lease)]

    assert complete([SERVICE], [endpoint_slice("9")], broken) is False


LOCAL = msgspec.convert(
    {
        "metadata": {"name": "blue", "namespace": "default"},
        "spec": {"selector": {"app": "blue"}, "type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    },
    Service,
)
ON_NODE1 = msgspec.structs.replace(POD, spec=msgspec.structs.replace(POD.spec, node_name="node1"))
GOING = {
    "addresses": ["10.244.1.2"],
    "conditions": {"ready": False, "terminating": True},
    "targetRef": {"uid": "u"},
    "nodeName": "node1",
}


def slice_with(*others: str) -> EndpointSlice:
    """The pod on its way out of node1, and a ready endpoint on each of these nodes."""
    ready = [{"addresses": [f"10.244.9.{n}"], "conditions": {"ready": True}, "nodeName": node} for n, node in enumerate(others)]
    return msgspec.structs.replace(endpoint_slice("9"), endpoints=msgspec.convert([GOING, *ready], tuple[Endpoint, ...]))


@pytest.mark.parametrize(
    ("service", "others", "reported", "expected"),
    [
        (LOCAL, ["node2"], {"80/TCP": ["node1", "node2"]}, False),
        (LOCAL, ["node2"], {"80/TCP": ["node2"]}, True),
        (LOCAL, ["node2", "node1"], {"80/TCP": ["node1", "node2"]}, True),
        (LOCAL, [], {"80/TCP": ["node1"]}, False),
        (LOCAL, [], {"80/TCP": []}, True),
        (SERVICE, ["node2"], {"80/TCP": ["node1", "node2"]}, True),
        (LOCAL, ["node2"], "nonsense", True),
    ],
    ids=["still sent to", "passed by", "another endpoint here", "the last one", "nobody left", "policy Cluster", "no report"],
)
def test_under_local_the_load_balancer_must_have_passed_the_node_by(service, others, reported, expected):
    """Under externalTrafficPolicy Local the last endpoint of a node serves until health checks have moved everybody away."""
    held = leases(node1="9", edge="9")
    held[-1].metadata.annotations[LOAD_BALANCERS] = json.dumps({"default/blue": reported})

    assert expected == complete([service], [slice_with(*others)], held, pod=ON_NODE1)
