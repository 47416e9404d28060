"""The table of kinds is the only place where the API server keeps facts of one kind."""

from __future__ import annotations

import ast
import pkgutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from netlab import controlplane
from netlab.api.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    RESOURCES,
    SECRETS,
    SERVICES,
    Json,
    Resource,
)
from netlab.controlplane import kinds
from netlab.controlplane.discovery import documents
from netlab.controlplane.kinds.kind import Kind
from netlab.controlplane.kinds.table import KINDS, kind_of
from netlab.controlplane.selectors import field_predicate
from netlab.controlplane.server import SUBRESOURCE_METHODS
from netlab.controlplane.status import group_resource
from netlab.errors import ApiError
from netlab.topology.manifest import pod_plan

OF_EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)


def test_every_resource_has_one_kind():
    """Resources and kinds are the same list, in the same order."""
    assert tuple(kind.resource for kind in KINDS) == RESOURCES
    assert all(kind_of(resource).resource is resource for resource in RESOURCES)


def test_every_kind_has_one_module():
    """A kind is one file, named after it, and its file is in the table."""
    shared = {"filling", "kind", "table"}
    modules = {module.name for module in pkgutil.iter_modules(kinds.__path__)} - shared
    words = {kind.resource.kind.lower() for kind in KINDS}
    assert {module.replace("_", "") for module in modules} == words


def test_every_subresource_has_handlers():
    """The server handles the verbs that a subresource lists, and no others."""
    methods = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}
    subresources = [subresource for kind in KINDS for subresource in kind.subresources]
    listed = {below.name: {methods[verb] for verb in below.verbs} for below in subresources}
    assert {name: set(table) for name, table in SUBRESOURCE_METHODS.items()} == listed


@OF_EVERY_KIND
def test_kinds_that_make_pods(kind):
    """The kinds that make pods are those whose manifests have pods in a topology file."""
    resource = kind.resource
    empty = resource.decode({"metadata": {"name": "x"}, "spec": {}})
    assert kind.makes_pods == (pod_plan(resource, empty) is not None)


# Tables of some kinds that hold no facts of a kind.
WATCHED = {"controllers.world._MAPS", "controllers.world.FIELDS", "manager.FIELDS", "manager.KINDS"}
RIGHTS = {"restriction.CHECKS"}  # what the token of a node may change
OUTSIDE = [
    module.name
    for module in pkgutil.walk_packages(controlplane.__path__, "netlab.controlplane.")
    if not module.name.startswith(kinds.__name__)
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_other_module_names_a_kind(name):
    """Outside of `kinds` no code of the control plane compares or lists names of kinds."""
    source = Path(str(find_spec(name).origin)).read_text()
    names = {resource.kind for resource in RESOURCES}
    texts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    assert [] == [f"line {text.lineno}: {text.value!r}" for text in texts if text.value in names]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_other_module_has_a_table_of_some_kinds(name):
    """A table of some kinds holds facts of these kinds, and belongs in `Kind`."""
    words = {word: r for r in RESOURCES for word in (r, r.kind, r.plural, group_resource(r))}
    tables = {}
    for variable, value in vars(import_module(name)).items():
        if isinstance(value, dict | set | frozenset | list | tuple):
            entries = [entry for entry in value if isinstance(entry, str | Resource)]
            tables[variable] = {words[entry].kind for entry in entries if entry in words}
    module = name.removeprefix("netlab.controlplane.")
    found = {f"{module}.{variable}" for variable, of in tables.items() if 0 < len(of) < len(KINDS)}
    assert found <= WATCHED | RIGHTS


# ---- the facts, as Kubernetes has them
SELECTOR = {"matchLabels": {"a": "b"}}
POD = {"containers": [{"name": "c", "image": "nginx"}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": POD}
WORKLOAD = {"spec": {"selector": SELECTOR, "template": TEMPLATE}}
CONTENT: dict[str, Json] = {
    "Pod": {"spec": POD},
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "Deployment": WORKLOAD,
    "ReplicaSet": WORKLOAD,
    "DaemonSet": WORKLOAD,
    "EndpointSlice": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.244.1.2"]}]},
    "Endpoints": {"subsets": [{"addresses": [{"ip": "10.9.9.9"}], "ports": [{"port": 80}]}]},
    "Lab": {"spec": {"nodes": [{"name": "node1"}]}},
}


def body_of(kind: Kind) -> Json:
    return {"metadata": {"name": "x"}, **CONTENT.get(kind.resource.kind, {})}


@OF_EVERY_KIND
async def test_generation(client, kind):
    """These kinds count the changes of what is wanted."""
    created = await client.create(kind.resource, body_of(kind))
    counted = {"Deployment", "ReplicaSet", "DaemonSet", "EndpointSlice", "Lab"}
    assert ("generation" in created["metadata"]) == (kind.resource.kind in counted)


@OF_EVERY_KIND
async def test_creation_by_an_update(client, kind):
    """A PUT of these kinds creates what does not exist."""
    if kind.resource.kind in {"Lease", "Endpoints", "Event", "Service"}:
        await client.update(kind.resource, body_of(kind))
        assert await client.get(kind.resource, "x")
    else:
        with pytest.raises(ApiError, match="not found"):
            await client.update(kind.resource, body_of(kind))


@OF_EVERY_KIND
async def test_metadata_of_a_status_update(client, kind):
    """An update of the status may change annotations of these kinds only."""
    if kind.resource.has_status:
        await client.create(kind.resource, body_of(kind))
        patch = {"metadata": {"annotations": {"a": "b"}}}
        after = await client.patch(kind.resource, "x", patch, subresource="status")
        kept = kind.resource.kind in {"Node", "Pod", "Service"}
        assert ("annotations" in after["metadata"]) == kept


@pytest.mark.parametrize(
    ("resource", "extra", "patch"),
    [
        (ENDPOINT_SLICES, {}, {"addressType": "IPv6"}),
        (REPLICA_SETS, {}, {"spec": {"selector": {"matchLabels": {"a": "b", "c": "d"}}}}),
        (DAEMON_SETS, {}, {"spec": {"selector": {"matchLabels": {"a": "b", "c": "d"}}}}),
        (SECRETS, {}, {"type": "example.com/other"}),
        (SECRETS, {"immutable": True}, {"data": {"k": "dg=="}}),
    ],
)
async def test_immutable_fields(client, resource, extra, patch):
    """These fields keep their first value."""
    await client.create(resource, {**body_of(kind_of(resource)), **extra})
    with pytest.raises(ApiError, match="field is immutable"):
        await client.patch(resource, "x", patch)


async def test_the_spec_of_a_namespace_stays(client):
    """An update of a namespace keeps its finalizers."""
    await client.create(NAMESPACES, {"metadata": {"name": "x"}})
    after = await client.patch(NAMESPACES, "x", {"spec": {"finalizers": []}})
    assert after["spec"] == {"finalizers": ["kubernetes"]}


async def test_protocol_of_endpoints(client):
    """The ports of Endpoints are TCP unless they state another protocol."""
    created = await client.create(ENDPOINTS, body_of(kind_of(ENDPOINTS)))
    assert created["subsets"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        (EVENTS, "involvedObject.uid"),
        (NAMESPACES, "status.phase"),
        (NODES, "spec.unschedulable"),
        (PODS, "status.podIP"),
        (REPLICA_SETS, "status.replicas"),
        (SECRETS, "type"),
        (SERVICES, "spec.clusterIP"),
    ],
)
def test_selectable_fields(resource, path):
    """A field selector may name these fields of these kinds, and no others."""
    assert field_predicate(resource, f"{path}=x")
    with pytest.raises(ApiError, match="field label not supported"):
        field_predicate(CONFIG_MAPS, f"{path}=x")


def test_category_all():
    """These kinds are what `kubectl get all` lists."""
    pages = documents()
    entries = [*pages["/api/v1"]["resources"], *pages["/apis/apps/v1"]["resources"]]
    listed = {entry["kind"] for entry in entries if "all" in entry.get("categories", ())}
    assert listed == {"Pod", "Service", "Deployment", "ReplicaSet", "DaemonSet"}
