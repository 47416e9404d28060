"""What the API server of one lab refuses: the rules of `netlab validate`, with the lab's nodes, ranges and runtime."""

from __future__ import annotations

from typing import Any

import pytest

from netlab.api.lab import DOCKER, NETNS, Lab, LabNode, LabSpec
from netlab.api.meta import ObjectMeta
from netlab.api.resources import (
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    LABS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    Json,
    Resource,
)
from netlab.controlplane.api import Api
from netlab.controlplane.local import LocalClient
from netlab.controlplane.store import Store
from netlab.controlplane.validation import LabRules
from netlab.errors import ApiError

SPEC = {"nodes": [{"name": "node1"}]}
CONTAINER = {"name": "c", "image": "nginx"}


def client_of(store: Store, runtime: str = NETNS, nodes: tuple[str, ...] = ("node1",)) -> LocalClient:
    lab = Lab(metadata=ObjectMeta(name="demo"), spec=LabSpec(runtime=runtime, nodes=tuple(LabNode(name=name) for name in nodes)))
    return LocalClient(Api(store, validate=LabRules(lab, store)))


def pod(name: str = "p", container: Json | None = None, **spec: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"containers": [{**CONTAINER, **(container or {})}], **spec}}


def deployment(**spec: Any) -> Json:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [CONTAINER]}}
    return {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template, **spec}}


PRIVILEGED = {"securityContext": {"privileged": True}}
UNKNOWN_IMAGE = {"image": "registry.example/unknown"}
MISSING = {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "k"}}}]}
ENDPOINT = {
    "metadata": {"name": "e"},
    "addressType": "IPv4",
    "ports": [{"port": 80}],
    "endpoints": [{"addresses": ["10.96.0.9"]}],
}


@pytest.mark.parametrize(
    ("runtime", "resource", "body", "code", "message"),
    [
        (NETNS, LABS, {"metadata": {"name": "demo"}, "spec": SPEC}, 201, ""),
        (NETNS, LABS, {"metadata": {"name": "other"}, "spec": SPEC}, 422, '"other": this API server serves lab "demo" only'),
        (NETNS, NAMESPACES, {"metadata": {"name": "other"}}, 201, ""),
        (NETNS, PODS, pod(), 201, ""),
        (NETNS, PODS, pod(nodeName="node1"), 201, ""),
        (NETNS, PODS, pod(nodeName="node9"), 422, 'spec.nodeName: Not found: "node9": the nodes are node1'),
        (NETNS, PODS, pod(container=UNKNOWN_IMAGE), 422, "runtime netns does not pull images"),
        (DOCKER, PODS, pod(container=UNKNOWN_IMAGE), 201, ""),
        (DOCKER, PODS, pod(container=PRIVILEGED), 422, "securityContext.privileged: Forbidden"),
        (NETNS, PODS, pod(container=PRIVILEGED), 201, ""),  # has no effect there, as the note of `netlab validate` says
        (NETNS, PODS, pod(container=MISSING), 201, ""),  # it waits for the ConfigMap, as on a cluster
        (NETNS, DEPLOYMENTS, deployment(replicas=253), 201, ""),
        (NETNS, DEPLOYMENTS, deployment(replicas=3_000_000), 422, "spec.replicas: Invalid value: 3000000: must be at most 253"),
        (NETNS, DEPLOYMENTS, deployment(replicas=3_000_000_000), 400, "expected a whole number of at most 32 bits"),
        (NETNS, DAEMON_SETS, deployment(), 201, ""),
        (NETNS, NODES, {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.244.7.0/24"}}, 201, ""),
        (NETNS, NODES, {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.7.0/24"}}, 422, "inside the lab's podSubnet"),
        (NETNS, NODES, {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.244.7.1/24"}}, 422, "has bits set after its prefix"),
        (NETNS, NODES, {"metadata": {"name": "n"}, "spec": {"podCIDR": "; flush ruleset"}}, 422, "must be a valid CIDR value"),
        (NETNS, ENDPOINT_SLICES, ENDPOINT, 422, "is an address of a Service"),
        (NETNS, SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["10.96.0.9"]}}, 422,
         "an external IP must not be in the Service network"),
    ],
)  # fmt: skip
async def test_rules_of_a_lab(store: Store, runtime: str, resource: Resource, body: Json, code: int, message: str) -> None:
    """The API refuses what `netlab validate` refuses of one object (finding S7)."""
    found, words = 201, ""
    try:
        await client_of(store, runtime).create(resource, body)
    except ApiError as error:
        found, words = error.code, error.message

    assert code == found, words
    assert message in words


async def test_a_node_that_leaves_keeps_its_pods(store: Store) -> None:
    """What was accepted may still be changed elsewhere, and a registered Node counts like one of the Lab."""
    client = client_of(store)
    await client.create(NODES, {"metadata": {"name": "leaving"}})
    await client.create(PODS, pod(nodeName="leaving"))
    await client.delete(NODES, "leaving")
    after = await client.patch(PODS, "p", {"metadata": {"labels": {"a": "b"}}})

    assert {"a": "b"} == after["metadata"]["labels"]
    with pytest.raises(ApiError, match="Not found"):
        await client.create(PODS, pod("q", nodeName="leaving"))


async def test_the_rules_follow_the_lab(store: Store) -> None:
    """A node that joins the Lab may be named at once."""
    client = client_of(store)
    await client.create(LABS, {"metadata": {"name": "demo"}, "spec": {"nodes": [{"name": "node1"}, {"name": "node2"}]}})

    assert "node2" == (await client.create(PODS, pod(nodeName="node2")))["spec"]["nodeName"]
