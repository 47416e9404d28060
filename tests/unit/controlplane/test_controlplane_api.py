from __future__ import annotations

from typing import Any

import pytest

from netlab.api.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    Json,
    Resource,
)  # fmt: skip
from netlab.controlplane.api import Api, DeleteOptions, Target, WriteOptions
from netlab.controlplane.auth import ADMIN
from netlab.controlplane.lists import ListOptions
from netlab.controlplane.local import LocalClient
from netlab.errors import ApiError

TEMPLATE = {"metadata": {"labels": {"app": "blue"}}, "spec": {"containers": [{"name": "c", "image": "jpetazzo/color"}]}}
SELECTOR = {"matchLabels": {"app": "blue"}}
POD = {"metadata": {"name": "p", "labels": {"app": "blue"}}, "spec": TEMPLATE["spec"]}
DEPLOYMENT = {"metadata": {"name": "blue"}, "spec": {"selector": SELECTOR, "template": TEMPLATE}}
CONFIG = {"metadata": {"name": "c"}, "data": {"k": "v"}}


def at(body: Json, path: str) -> Any:
    value: Any = body
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value.get(step)
    return value


@pytest.mark.parametrize(
    ("resource", "body", "path", "expected"),
    [
        (CONFIG_MAPS, CONFIG, "metadata.creationTimestamp", "2026-11-20T12:00:00Z"),
        (CONFIG_MAPS, CONFIG, "metadata.generation", None),
        (CONFIG_MAPS, CONFIG, "apiVersion", "v1"),
        (NAMESPACES, {"metadata": {"name": "x"}}, "metadata.labels", {"kubernetes.io/metadata.name": "x"}),
        (NAMESPACES, {"metadata": {"name": "x"}}, "status.phase", "Active"),
        (SECRETS, {"metadata": {"name": "s"}, "stringData": {"k": "v"}}, "data", {"k": "dg=="}),
        (SECRETS, {"metadata": {"name": "s"}, "stringData": {"k": "v"}}, "stringData", None),
        (SECRETS, {"metadata": {"name": "s"}}, "type", "Opaque"),
        (PODS, {**POD, "status": {"phase": "Running"}}, "status.phase", "Pending"),
        (PODS, POD, "spec.dnsPolicy", "ClusterFirst"),
        (PODS, POD, "spec.restartPolicy", "Always"),
        (PODS, POD, "spec.terminationGracePeriodSeconds", 30),
        (PODS, POD, "spec.containers.0.imagePullPolicy", "IfNotPresent"),
        (DEPLOYMENTS, DEPLOYMENT, "spec.replicas", 1),
        (DEPLOYMENTS, DEPLOYMENT, "metadata.generation", 1),
        (DEPLOYMENTS, DEPLOYMENT, "spec.template.spec.dnsPolicy", "ClusterFirst"),
        (DEPLOYMENTS, DEPLOYMENT, "spec.strategy.type", "RollingUpdate"),
        (DAEMON_SETS, DEPLOYMENT, "spec.updateStrategy.type", "RollingUpdate"),
        (NODES, {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "172.30.1.1"}]}},
         "status.addresses.0.address", "172.30.1.1"),
        (ENDPOINT_SLICES, {"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]},
         "ports.0.protocol", "TCP"),
    ],
)  # fmt: skip
async def test_what_a_create_fills_in(client: LocalClient, resource: Resource, body: Json, path: str, expected: Any) -> None:
    """A created object has what Kubernetes gives it, and not what a client may not set."""
    assert expected == at(await client.create(resource, body), path)


CONTAINER = "spec.containers.0"
PROBED = {"name": "c", "image": "nginx:1.27", "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": 80}}}


@pytest.mark.parametrize(
    ("spec", "path", "expected"),
    [
        ({}, f"{CONTAINER}.imagePullPolicy", "IfNotPresent"),
        ({}, f"{CONTAINER}.ports.0.protocol", "TCP"),
        ({}, f"{CONTAINER}.ports.0.hostPort", None),
        ({"hostNetwork": True}, f"{CONTAINER}.ports.0.hostPort", 80),
        ({}, f"{CONTAINER}.readinessProbe.periodSeconds", 10),
        ({}, f"{CONTAINER}.readinessProbe.failureThreshold", 3),
        ({}, f"{CONTAINER}.readinessProbe.httpGet.path", "/"),
        ({}, f"{CONTAINER}.readinessProbe.httpGet.scheme", "HTTP"),
        ({}, "spec.enableServiceLinks", True),
    ],
)
async def test_pod_defaults(client: LocalClient, spec: Json, path: str, expected: Any) -> None:
    """Containers, ports and probes are filled in."""
    body = {"metadata": {"name": "p"}, "spec": {"containers": [PROBED], **spec}}

    assert expected == at(await client.create(PODS, body), path)


@pytest.mark.parametrize(
    ("resource", "body", "code", "message"),
    [
        (CONFIG_MAPS, {**CONFIG, "dato": {}}, 400,
         'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dato"'),
        (SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPorts": 1}]}}, 400,
         'strict decoding error: unknown field "spec.ports[0].targetPorts"'),
        (SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": "80"}]}}, 400,
         "spec.ports[0].port: Expected `int`, got `str`"),
        (CONFIG_MAPS, {**CONFIG, "kind": "Secret"}, 400, "the body has apiVersion v1, kind Secret"),
        (CONFIG_MAPS, {"metadata": "x"}, 400, "metadata: Expected `object`, got `str`"),
        (CONFIG_MAPS, {"metadata": {}}, 422, "name or generateName is required"),
        (CONFIG_MAPS, {"metadata": {"name": "Upper"}}, 422, '"Upper" is invalid: metadata.name: Invalid value: "Upper"'),
        (CONFIG_MAPS, {"metadata": {"name": "../x"}}, 422, 'metadata.name: Invalid value: "../x"'),
        (CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "nope"}}, 404, 'namespaces "nope" not found'),
        (CONFIG_MAPS, {"metadata": {"name": "there"}}, 409, 'configmaps "there" already exists'),
    ],
)  # fmt: skip
async def test_refused_creates(client: LocalClient, resource: Resource, body: Json, code: int, message: str) -> None:
    """A create that cannot be is refused with Kubernetes' code and words."""
    await client.create(CONFIG_MAPS, {"metadata": {"name": "there"}})
    with pytest.raises(ApiError) as caught:
        await client.create(resource, body)

    assert code == caught.value.code
    assert message in caught.value.message


async def test_messages_name_the_group(client: LocalClient) -> None:
    """Kinds outside the core group are named with it."""
    with pytest.raises(ApiError, match=r'deployments.apps "x" not found') as caught:
        await client.get(DEPLOYMENTS, "x")

    assert {"name": "x", "group": "apps", "kind": "deployments"} == caught.value.details


async def test_the_body_of_a_caller_stays_its_own(client: LocalClient) -> None:
    """Neither the given body nor a returned one is shared with the store."""
    body = {"metadata": {"name": "c"}, "data": {"k": "v"}}
    made = await client.create(CONFIG_MAPS, body)
    made["data"]["k"] = "changed"

    assert {"metadata": {"name": "c"}, "data": {"k": "v"}} == body
    assert {"k": "v"} == (await client.get(CONFIG_MAPS, "c"))["data"]


async def test_generated_names(client: LocalClient) -> None:
    """GenerateName is completed with a suffix that is free."""
    await client.create(CONFIG_MAPS, {"metadata": {"name": "a-00001"}})
    made = await client.create(CONFIG_MAPS, {"metadata": {"generateName": "a-"}})

    assert "a-00002" == made["metadata"]["name"]


@pytest.mark.parametrize(
    ("mode", "warnings"), [("Warn", ('unknown field "dato"',)), ("Ignore", ())]
)  # fmt: skip
def test_unknown_fields_are_pruned(api: Api, mode: Any, warnings: tuple[str, ...]) -> None:
    """Without Strict an unknown field is dropped, with a warning or without one."""
    written = api.create(ADMIN, Target(CONFIG_MAPS, "default"), {**CONFIG, "dato": 1}, WriteOptions(field_validation=mode))

    assert ("dato" in written.stored.body, warnings) == (False, written.warnings)


# ---- update
async def test_a_stale_update_is_a_conflict(client: LocalClient) -> None:
    """Who writes from an old version is told so; without a version the write goes through."""
    old = await client.create(CONFIG_MAPS, CONFIG)
    await client.patch(CONFIG_MAPS, "c", {"data": {"k": "w"}})
    with pytest.raises(ApiError) as caught:
        await client.update(CONFIG_MAPS, {**old, "data": {"k": "x"}})
    new = await client.update(CONFIG_MAPS, {**CONFIG, "data": {"k": "y"}})

    assert (409, "Conflict") == (caught.value.code, caught.value.reason)
    assert caught.value.message.startswith('Operation cannot be fulfilled on configmaps "c": the object has been modified')
    assert {"k": "y"} == new["data"]


async def test_a_write_that_changes_nothing_keeps_the_version(client: LocalClient, api: Api) -> None:
    """No change, no event, no new resourceVersion."""
    made = await client.create(DEPLOYMENTS, DEPLOYMENT)
    version = api.store.version
    same = (
        await client.update(DEPLOYMENTS, DEPLOYMENT),
        await client.update(DEPLOYMENTS, made),
        await client.patch(DEPLOYMENTS, "blue", {"metadata": {"labels": None}}),
        await client.patch(DEPLOYMENTS, "blue", {"spec": {"replicas": 1}}),
    )

    assert [made] * 4 == list(same)
    assert version == api.store.version


async def test_generation_counts_wanted_changes_only(client: LocalClient) -> None:
    """A label or a status does not count, a replica does."""
    found = [
        (await client.create(DEPLOYMENTS, DEPLOYMENT))["metadata"]["generation"],
        (await client.patch(DEPLOYMENTS, "blue", {"metadata": {"labels": {"a": "b"}}}))["metadata"]["generation"],
        (await client.patch(DEPLOYMENTS, "blue", {"status": {"replicas": 1}}, subresource="status"))["metadata"]["generation"],
        (await client.patch(DEPLOYMENTS, "blue", {"spec": {"replicas": 3}}))["metadata"]["generation"],
    ]

    assert [1, 1, 1, 2] == found


async def test_status_and_spec_are_kept_apart(client: LocalClient) -> None:
    """An update of the object leaves its status, an update of the status leaves its spec."""
    await client.create(DEPLOYMENTS, DEPLOYMENT)
    await client.patch(DEPLOYMENTS, "blue", {"spec": {"replicas": 9}, "status": {"replicas": 2}}, subresource="status")
    after = await client.patch(DEPLOYMENTS, "blue", {"spec": {"replicas": 3}, "status": {"replicas": 7}})

    assert (3, 2) == (after["spec"]["replicas"], after["status"]["replicas"])


@pytest.mark.parametrize(
    ("resource", "body", "name", "kept"),
    [
        (NODES, {"metadata": {"name": "n"}}, "n", True),
        (PODS, POD, "p", True),
        (DEPLOYMENTS, DEPLOYMENT, "blue", False),
    ],
)
async def test_annotations_by_a_status_patch(client: LocalClient, resource: Resource, body: Json, name: str, kept: bool) -> None:
    """Flannel writes its annotations by a patch of the node's status; a Deployment's status carries none."""
    await client.create(resource, body)
    after = await client.patch(resource, name, {"metadata": {"annotations": {"a": "b"}}}, subresource="status")

    assert kept == ("annotations" in after["metadata"])


@pytest.mark.parametrize(
    ("resource", "body", "patch", "message"),
    [
        (DEPLOYMENTS, DEPLOYMENT, {"spec": {"selector": {"matchLabels": {"app": "blue", "x": "y"}},
                                            "template": {"metadata": {"labels": {"x": "y"}}}}}, "field is immutable"),
        (PODS, POD, {"spec": {"hostname": "x"}}, "pod updates may not change fields other than"),
        (CONFIG_MAPS, {**CONFIG, "immutable": True}, {"data": {"k": "w"}}, "field is immutable when `immutable` is set"),
        (NODES, {"metadata": {"name": "n"}, "spec": {"podCIDR": "10.244.1.0/24"}}, {"spec": {"podCIDR": "10.244.2.0/24"}},
         "node updates may not change podCIDR"),
        (CONFIG_MAPS, CONFIG, {"metadata": {"name": "other"}}, "cannot rename"),
        (CONFIG_MAPS, CONFIG, {"metadata": {"uid": "other"}}, "Precondition failed: UID in precondition: other"),
        (CONFIG_MAPS, CONFIG, {"metadata": {"resourceVersion": "1"}}, "the object has been modified"),
    ],
)  # fmt: skip
async def test_what_may_not_change(client: LocalClient, resource: Resource, body: Json, patch: Json, message: str) -> None:
    """Fixed fields stay as they were made."""
    await client.create(resource, body)
    with pytest.raises(ApiError, match=message):
        await client.patch(resource, body["metadata"]["name"], patch)


@pytest.mark.parametrize(
    ("resource", "body", "patch"),
    [
        (PODS, POD, {"spec": {"containers": [{"name": "c", "image": "nginx"}]}}),
        (PODS, POD, {"spec": {"nodeName": "node1"}}),
        (NODES, {"metadata": {"name": "n"}}, {"spec": {"podCIDR": "10.244.1.0/24"}}),
    ],
)
async def test_what_may_change(client: LocalClient, resource: Resource, body: Json, patch: Json) -> None:
    """Images change, and what was empty may be set once."""
    before = await client.create(resource, body)
    if "containers" in patch["spec"]:
        patch = {"spec": {"containers": [{**before["spec"]["containers"][0], "image": "nginx"}]}}
    after = await client.patch(resource, body["metadata"]["name"], patch)

    assert before.get("spec") != after["spec"]


async def test_system_metadata_cannot_be_set(client: LocalClient) -> None:
    """Uid and creationTimestamp come from the server."""
    body = {"metadata": {"name": "c", "uid": "mine", "creationTimestamp": "2000-01-01T00:00:00Z", "managedFields": []}}
    made = await client.create(CONFIG_MAPS, body)
    await client.patch(CONFIG_MAPS, "c", {"metadata": {"creationTimestamp": "2000-01-01T00:00:00Z"}})

    assert made == await client.get(CONFIG_MAPS, "c")
    assert made["metadata"]["uid"].startswith("uid-")


async def test_update_of_a_missing_object(client: LocalClient) -> None:
    """A PUT creates a Lease, as in Kubernetes; it does not create a ConfigMap."""
    await client.update(LEASES, {"metadata": {"name": "node1", "namespace": "kube-node-lease"}, "spec": {"holderIdentity": "x"}})
    with pytest.raises(ApiError, match='configmaps "c" not found'):
        await client.update(CONFIG_MAPS, CONFIG)

    assert "x" == (await client.get(LEASES, "node1", namespace="kube-node-lease"))["spec"]["holderIdentity"]


BINDING = {"target": {"kind": "Node", "name": "node1"}}


def test_binding(api: Api) -> None:
    """A Binding sets the node once."""
    api.create(ADMIN, Target(NODES), {"metadata": {"name": "node1"}})
    api.create(ADMIN, Target(PODS, "default"), POD)
    target = Target(PODS, "default", "p", "binding")
    api.bind(ADMIN, target, BINDING)
    with pytest.raises(ApiError, match='pod p is already assigned to node "node1"'):
        api.bind(ADMIN, target, BINDING)

    assert "node1" == api.get(ADMIN, Target(PODS, "default", "p")).body["spec"]["nodeName"]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ([], 400, "the body of the request must be a JSON object"),
        ("x", 400, "the body of the request must be a JSON object"),
        (None, 400, "the body of the request must be a JSON object"),
        ({}, 422, "target.name: Required value"),
        ({"target": "node1"}, 400, "target: Expected `object`, got `str`"),
        ({"target": {"name": {"a": 1}}}, 400, "target.name: Expected `str`, got `object`"),
        ({"target": {"name": 5}}, 400, "target.name: Expected `str`, got `int`"),
        ({"target": {"name": "n" * 300}}, 422, "must be no more than 253 characters"),
        ({"target": {"name": "node1\n"}}, 422, "a lowercase RFC 1123 subdomain must consist of"),
        ({"target": {"name": "node2"}}, 422, 'target.name: Not found: "node2"'),
        ({"target": {"kind": "Pod", "name": "node1"}}, 422, 'target.kind: Unsupported value: "Pod"'),
        ({"metadata": {"name": "q"}, **BINDING}, 400, "not that of the pod in the URL"),
        ({"kind": "Pod", **BINDING}, 400, "kind Pod; this path accepts Binding"),
    ],
)  # fmt: skip
def test_refused_bindings(api: Api, body: Any, code: int, message: str) -> None:
    """A Binding is validated like any other write: its target stopped the daemon for good (finding B2)."""
    api.create(ADMIN, Target(NODES), {"metadata": {"name": "node1"}})
    api.create(ADMIN, Target(PODS, "default"), POD)
    with pytest.raises(ApiError) as caught:
        api.bind(ADMIN, Target(PODS, "default", "p", "binding"), body)

    assert code == caught.value.code
    assert message in caught.value.message
    assert "nodeName" not in api.get(ADMIN, Target(PODS, "default", "p")).body["spec"]


# ---- list
def test_pages(api: Api) -> None:
    """Pages follow each other under one resourceVersion, also while objects come and go."""
    for name in "abcde":
        api.create(ADMIN, Target(CONFIG_MAPS, "default"), {"metadata": {"name": name}})
    target = Target(CONFIG_MAPS, "default")
    first = api.list(ADMIN, target, ListOptions(limit=2))
    api.delete(ADMIN, Target(CONFIG_MAPS, "default", "c"))
    second = api.list(ADMIN, target, ListOptions(limit=2, continue_token=first.continue_token))

    assert (["a", "b"], 3) == ([s.key[1] for s in first.items], first.remaining)
    assert (["d", "e"], None, "") == ([s.key[1] for s in second.items], second.remaining, second.continue_token)
    assert first.version == second.version


def test_a_strange_continue_token(api: Api) -> None:
    """A token that this server did not give is a bad request."""
    for token in ("x", "e30", "!!!", "AAAA"):
        with pytest.raises(ApiError, match="continue key is not valid"):
            api.list(ADMIN, Target(CONFIG_MAPS), ListOptions(limit=1, continue_token=token))


async def test_list_version_is_that_of_the_kind(client: LocalClient, api: Api) -> None:
    """A list tells the newest change of its kind, so that a watcher can tell when it has seen everything."""
    await client.create(CONFIG_MAPS, CONFIG)
    await client.create(SECRETS, {"metadata": {"name": "s"}})
    answer = await client.list(CONFIG_MAPS)

    assert str(api.store.last_change(CONFIG_MAPS)) == answer.resource_version


async def test_selected_lists(client: LocalClient) -> None:
    """Selectors and namespaces choose."""
    for name, tier in (("a", "web"), ("b", "db")):
        await client.create(CONFIG_MAPS, {"metadata": {"name": name, "labels": {"tier": tier}}})
    await client.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "kube-system", "labels": {"tier": "web"}}})
    found = (
        await client.list(CONFIG_MAPS, label_selector="tier=web"),
        await client.list(CONFIG_MAPS, namespace="default", label_selector="tier=web"),
        await client.list(CONFIG_MAPS, field_selector="metadata.name=b"),
    )

    assert [2, 1, 1] == [len(answer.items) for answer in found]


def test_delete_preconditions(api: Api) -> None:
    """A delete meant for another object of the same name is a conflict."""
    api.create(ADMIN, Target(CONFIG_MAPS, "default"), CONFIG)
    with pytest.raises(ApiError, match="Precondition failed: UID in precondition: x"):
        api.delete(ADMIN, Target(CONFIG_MAPS, "default", "c"), DeleteOptions(uid="x"))
