"""Strategies: what happens to an object between a client's body and the store, kind by kind.

Three ways in, as in Kubernetes: create, update of the object (its status stays), update of the status (its spec stays).
The functions get bodies that they may edit and return what is wrong; they know no store, no clock, no user.

What would surprise:
- `generation` counts changes of the wanted state only, and only some kinds have one.
- A Node may be created with its status; a status update of Node, Pod and Service may change labels and annotations, as in
  Kubernetes (flannel writes its annotations so), that of a Deployment may not. What a node's token may change that way is
  less: `netlab.controlplane.restriction`.
- A Pod's spec is fixed but for its images; here, as Binding does, an empty nodeName may be set once by an update.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from netlab.api.resources import Json
from netlab.controlplane import services
from netlab.controlplane.status import AnyResource, FieldProblem

# Kinds with a generation, and where their wanted state is: everything but metadata and status.
WITH_GENERATION = frozenset({"Deployment", "ReplicaSet", "DaemonSet", "EndpointSlice", "Lab"})
METADATA_BY_STATUS = frozenset({"Node", "Pod", "Service"})  # status updates that may change labels and annotations
CREATE_ON_UPDATE = frozenset({"Lease", "Endpoints", "Event", "Service"})  # a PUT of these creates what is not there
SYSTEM_METADATA = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
FIRST_STATUS: dict[str, Json] = {
    "Pod": {"phase": "Pending", "qosClass": "BestEffort"},
    "Service": {"loadBalancer": {}},
    "Namespace": {"phase": "Active"},
}


def wanted_state(body: Json) -> Json:
    """Return what a user wants: the object without metadata and status."""
    return {name: value for name, value in body.items() if name not in {"metadata", "status"}}


# ---- create
def prepare_create(resource: AnyResource, body: Json) -> None:
    """Drop what a client may not set on a new object; Service addresses are made to agree."""
    meta = body["metadata"]
    for name in (*SYSTEM_METADATA, "resourceVersion", "selfLink", "managedFields"):
        meta.pop(name, None)
    if resource.kind != "Node":
        body.pop("status", None)
        if first := FIRST_STATUS.get(resource.kind):
            body["status"] = dict(first)
    if resource.kind in WITH_GENERATION:
        meta["generation"] = 1
    if resource.kind == "Service":
        services.match_cluster_ips(body.setdefault("spec", {}))


# ---- update
def prepare_update(resource: AnyResource, new: Json, old: Json) -> None:
    """Keep the system's metadata and the status; carry over what was allocated."""
    _keep_metadata(new, old)
    if resource.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    if resource.kind == "Service":
        before, after = old.get("spec", {}), new.setdefault("spec", {})
        services.carry_over(after, before)
        services.drop_type_dependent(after, before)
        services.match_cluster_ips(after, before)
        if after.get("type") != "LoadBalancer" and new.get("status", {}).get("loadBalancer"):
            new["status"] = {**new["status"], "loadBalancer": {}}
    if resource.kind == "Namespace":
        new["spec"] = old.get("spec", {})


def count_generation(resource: AnyResource, new: Json, old: Json) -> None:
    """Count a change of the wanted state; called when the new body is complete, defaults included."""
    if resource.kind in WITH_GENERATION and wanted_state(new) != wanted_state(old):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def _keep_metadata(new: Json, old: Json) -> None:
    meta, before = new["metadata"], old["metadata"]
    for name in ("selfLink", "managedFields"):
        meta.pop(name, None)
    for name in (*SYSTEM_METADATA, "name", "namespace", "generateName"):
        if name in before:
            meta[name] = before[name]
        else:
            meta.pop(name, None)


def prepare_status_update(resource: AnyResource, new: Json, old: Json) -> Json:
    """Return the object after a status update: the old one, with the new status."""
    meta = dict(old["metadata"])
    if "resourceVersion" in new["metadata"]:
        meta["resourceVersion"] = new["metadata"]["resourceVersion"]
    if resource.kind in METADATA_BY_STATUS:
        for name in ("labels", "annotations"):
            meta.pop(name, None)
            if name in new["metadata"]:
                meta[name] = new["metadata"][name]
    return {**old, "metadata": meta, "status": new.get("status", {})}


# ---- what may not change
IMMUTABLE: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec.selector",),
    "ReplicaSet": ("spec.selector",),
    "DaemonSet": ("spec.selector",),
    "EndpointSlice": ("addressType",),
    "Secret": ("type",),
}


def _at(body: Json, path: str) -> Any:
    value: Any = body
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _frozen_fields(resource: AnyResource, new: Json, old: Json) -> list[FieldProblem]:
    problems = []
    for path in IMMUTABLE.get(resource.kind, ()):
        value = _at(new, path)
        if value != _at(old, path):
            problems.append(FieldProblem(path, f"Invalid value: {json.dumps(value)}: field is immutable"))
    return problems


def _pod(new: Json, old: Json) -> list[FieldProblem]:
    if _pod_fixed(new, old) == _pod_fixed(old, old):
        return []
    text = (
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing"
        " tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [FieldProblem("spec", text, "FieldValueForbidden")]


def _pod_fixed(body: Json, old: Json) -> Json:
    spec = {name: value for name, value in body["spec"].items() if name not in {"activeDeadlineSeconds", "tolerations"}}
    if not old["spec"].get("nodeName"):
        spec.pop("nodeName", None)
    for name in ("containers", "initContainers"):
        spec[name] = [{**container, "image": ""} for container in spec.get(name, ())]
    return spec


def _node(new: Json, old: Json) -> list[FieldProblem]:
    before = old.get("spec", {}).get("podCIDR")
    if not before or new.get("spec", {}).get("podCIDR") == before:
        return []
    text = 'Forbidden: node updates may not change podCIDR except from "" to valid'
    return [FieldProblem("spec.podCIDRs", text, "FieldValueForbidden")]


def _immutable_content(new: Json, old: Json) -> list[FieldProblem]:
    if not old.get("immutable"):
        return []
    problems = []
    if not new.get("immutable"):
        text = "Forbidden: field is immutable when `immutable` is set"
        problems.append(FieldProblem("immutable", text, "FieldValueForbidden"))
    for name in ("data", "binaryData"):
        if new.get(name) != old.get(name):
            text = "Forbidden: field is immutable when `immutable` is set"
            problems.append(FieldProblem(name, text, "FieldValueForbidden"))
    return problems


CHANGES: dict[str, Callable[[Json, Json], list[FieldProblem]]] = {
    "Pod": _pod,
    "Node": _node,
    "ConfigMap": _immutable_content,
    "Secret": _immutable_content,
    "Service": lambda new, old: services.immutable_problems(new.get("spec", {}), old.get("spec", {})),
}


def change_problems(resource: AnyResource, new: Json, old: Json) -> list[FieldProblem]:
    """Return what an update changes and may not."""
    problems = _frozen_fields(resource, new, old)
    if check := CHANGES.get(resource.kind):
        problems += check(new, old)
    return problems
