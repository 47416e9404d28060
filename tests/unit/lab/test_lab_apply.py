"""`up` applies manifests as `kubectl apply` does: three-way, idempotent, with pruning."""

from __future__ import annotations

import pytest

from netlab.api.resources import CONFIG_MAPS, DEPLOYMENTS, ENDPOINTS, LABS, NAMESPACES, PODS, RESOURCES, SERVICES
from netlab.api.wellknown import APPLIED, LAST_APPLIED
from netlab.lab.apply import Verb, adoption, identity, merge_patch, plan
from netlab.topology import Manifest

BY_PLURAL = {resource.plural: resource for resource in RESOURCES}


@pytest.mark.parametrize(
    ("last", "wanted", "live", "patch"),
    [
        pytest.param({}, {"a": 1}, {"a": 1}, {}, id="equal: nothing"),
        pytest.param({}, {"a": 1}, {}, {"a": 1}, id="missing: set"),
        pytest.param({"a": 1}, {}, {"a": 1}, {"a": None}, id="left the file: removed"),
        pytest.param({}, {}, {"a": 1}, {}, id="never in the file: kept"),
        pytest.param({"a": 1}, {}, {}, {}, id="left the file, gone already: nothing"),
        pytest.param({}, {"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {}, id="the server's own keys stay"),
        pytest.param({"a": {"c": 1}}, {"a": {"b": 2}}, {"a": {"b": 1, "c": 1}}, {"a": {"b": 2, "c": None}}, id="nested"),
        pytest.param({}, {"p": [{"x": 1}]}, {"p": [{"x": 1, "y": "default"}]}, {}, id="a list the server filled in"),
        pytest.param(
            {"p": [{"x": 1, "y": 2}]},
            {"p": [{"x": 1}]},
            {"p": [{"x": 1, "y": 2, "z": 3}]},
            {"p": [{"x": 1}]},
            id="a key that left an item of a list",
        ),
        pytest.param({"p": [{"x": 1}]}, {"p": [{"x": 1}]}, {"p": [{"x": 1, "y": "default"}]}, {}, id="a list not edited"),
        pytest.param({}, {"p": [1, 2]}, {"p": [1]}, {"p": [1, 2]}, id="lists are replaced as a whole"),
        pytest.param({}, {"a": True}, {"a": 1}, {"a": True}, id="true is not 1"),
    ],
)
def test_merge_patch(last, wanted, live, patch):
    """A merge patch does the difference between file and server and touches nothing else."""
    assert patch == merge_patch(last, wanted, live)


def service(**spec):
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "blue", "namespace": "default"}, "spec": spec}
    return Manifest(resource=SERVICES, body=body, source="t.yaml", line=1)


def stored(change):
    """Return what a server would hold after a creation: the body and what it fills in."""
    body = {**change.body, "status": {"loadBalancer": {}}}
    return {**body, "spec": {**body["spec"], "clusterIP": "10.96.7.7"}}


def test_second_run_is_empty():
    """Applying the same manifest again writes nothing."""
    (created,) = plan([service(ports=[{"port": 80}])], {}, BY_PLURAL)
    body = stored(created)

    again = plan([service(ports=[{"port": 80}])], {identity(SERVICES, body): body}, BY_PLURAL)

    assert Verb.CREATE is created.verb
    assert () == again


def test_removed_field_is_removed():
    """A field that was in the last manifest and is not in this one is taken out of the object."""
    (created,) = plan([service(ports=[{"port": 80}], externalName="x")], {}, BY_PLURAL)
    body = stored(created)

    (patch,) = plan([service(ports=[{"port": 80}])], {identity(SERVICES, body): body}, BY_PLURAL)

    assert {"externalName": None} == patch.body["spec"]
    assert {"annotations"} == set(patch.body["metadata"])


@pytest.mark.parametrize(("selector", "names"), [({"app": "web"}, ["Service"]), ({}, ["Endpoints", "Service"])])
def test_endpoints_of_a_selecting_service_are_its_controllers(selector, names):
    """Endpoints beside a Service with a selector are left out: a controller replaces them, and each `up` would fight it."""
    body = {"metadata": {"name": "blue", "namespace": "default"}, "subsets": []}
    by_hand = Manifest(resource=ENDPOINTS, body=body, source="t.yaml", line=1)

    assert names == sorted(c.resource.kind for c in plan([service(selector=selector), by_hand], {}, BY_PLURAL))


def test_object_that_exists_is_adopted():
    """Who creates what a controller has made in between changes it to what the file says, and remembers the file."""
    (create,) = plan([service(selector={"app": "web"})], {}, BY_PLURAL)
    live = {
        "metadata": {"name": "web", "namespace": "default", "uid": "1"},
        "spec": {"selector": {"app": "old"}, "clusterIP": "x"},
    }
    patch = adoption(create, live)

    assert Verb.PATCH is patch.verb
    assert {"app": "web"} == patch.body["spec"]["selector"]
    assert {APPLIED, LAST_APPLIED} == set(patch.body["metadata"]["annotations"])
    assert "clusterIP" not in patch.body["spec"]


def test_pruning_takes_only_what_up_made():
    """An object with the mark that left the file is deleted; the user's own stays."""
    mine = {"metadata": {"name": "mine", "namespace": "default", "annotations": {APPLIED: "true", LAST_APPLIED: "{}"}}}
    yours = {"metadata": {"name": "yours", "namespace": "default"}}
    live = {identity(CONFIG_MAPS, body): body for body in (mine, yours)}

    (change,) = plan([], live, BY_PLURAL)

    assert (Verb.DELETE, "mine") == (change.verb, change.name)


ORDER = [
    ("create", NAMESPACES, "shop"),
    ("delete", SERVICES, "left"),
    ("patch", SERVICES, "kept"),
    ("create", SERVICES, "new"),
    ("create", CONFIG_MAPS, "settings"),
    ("create", DEPLOYMENTS, "web"),
    ("create", PODS, "shell"),
    ("delete", PODS, "gone"),
    ("create", LABS, "quickstart"),
]


@pytest.mark.parametrize("turn", range(len(ORDER)))
def test_order(turn):
    """Whatever the file's order: namespaces, Services that give back ports, Services, the rest, pods, what leaves, the lab."""
    manifests, live = [], {}
    for verb, resource, name in ORDER[turn:] + ORDER[:turn]:
        meta = {"name": name} if resource in (NAMESPACES, LABS) else {"name": name, "namespace": "default"}
        body = {"metadata": meta}
        if verb != "create":
            live[identity(resource, body)] = {"metadata": {**meta, "annotations": {APPLIED: "true", LAST_APPLIED: "{}"}}}
        if verb != "delete":
            manifests.append(Manifest(resource=resource, body=body, source="t.yaml", line=1))

    changes = [change.name for change in plan(manifests, live, BY_PLURAL)]

    kinds = {name: (verb, resource.plural) for verb, resource, name in ORDER}
    assert [kinds[name] for _, _, name in ORDER[:5]] == [kinds[name] for name in changes[:5]]
    assert {"web", "shell"} == set(changes[5:7])
    assert ["gone", "quickstart"] == changes[7:]
