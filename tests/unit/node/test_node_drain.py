from __future__ import annotations

import json

import msgspec
import pytest

from netlab.api.coordination import Lease
from netlab.api.discovery import Endpoint, EndpointSlice
from netlab.api.pods import Pod
from netlab.api.services import Service
from netlab.api.wellknown import LOAD_BALANCERS, SYNCED
from netlab.node.kubelet_drain import withdrawn

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


@pytest.mark.parametrize(
    ("services", "slices", "held", "expected"),
    [
        ([], [], {}, True),
        ([OTHER], [], {"node1": "1"}, True),
        ([SERVICE], [endpoint_slice("9", terminating=False)], {"node1": "9"}, False),
        ([OTHER], [elsewhere(endpoint_slice("9", uid="someone else"))], {"node1": "8"}, True),
        ([SERVICE], [endpoint_slice("9")], {"node1": "8"}, False),
        ([SERVICE], [endpoint_slice("9")], {"node1": "9", "node2": "8"}, False),
        ([SERVICE], [endpoint_slice("9")], {"node1": "9", "node2": "12"}, True),
        ([SERVICE], [endpoint_slice("9")], {"node1": "9", "edge": "7"}, False),
        ([SERVICE], [endpoint_slice("7", uid="another slice's"), endpoint_slice("9")], {"node1": "8"}, False),
        ([SERVICE], [endpoint_slice("9", uid="someone else")], {"node1": "8"}, False),
        ([SERVICE], [endpoint_slice("9", uid="someone else")], {"node1": "9"}, True),
    ],
)
def test_a_pod_serves_until_every_rule_has_left_it(services, slices, held, expected):
    """A terminating pod is withdrawn when all leases hold the slices that no longer offer it."""
    result = withdrawn(POD, services, slices, leases(**held))

    assert result == expected


@pytest.mark.parametrize("text", ["nonsense", "[]", "{}", '{"endpointslices": "x"}', '{"endpointslices": 9}'])
def test_unreadable_lease_counts_as_behind(text):
    """A lease that does not say how far its holder is keeps the pod serving."""
    broken = [msgspec.convert({"metadata": {"annotations": {SYNCED: text}}}, Lease)]

    assert withdrawn(POD, [SERVICE], [endpoint_slice("9")], broken) is False


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

    assert expected == withdrawn(ON_NODE1, [service], [slice_with(*others)], held)
