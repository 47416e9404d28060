"""What happens to every object between a client's body and the store.

`Strategy` of `netlab.controlplane.kinds` holds what differs between kinds.

Three ways in, as in Kubernetes: create, update of the object (its status stays), update of the status (its spec stays).
The functions get bodies that they may edit and return what is wrong; they use no store, no clock, no user.

What would surprise:
- `generation` counts changes of the wanted state only, and only some kinds have one.
- A status update of some kinds may change labels and annotations, as in Kubernetes (flannel writes
  its annotations to Nodes so). A node's token may change fewer: `netlab.controlplane.restriction`.
"""

from __future__ import annotations

import json
from typing import Any

from netlab.api.resources import Json
from netlab.controlplane.kinds.table import kind_of
from netlab.controlplane.status import AnyResource, FieldProblem

SYSTEM_METADATA = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


def wanted_state(body: Json) -> Json:
    """Return what a user wants: the object without metadata and status."""
    return {name: value for name, value in body.items() if name not in {"metadata", "status"}}


# ---- create
def prepare_create(resource: AnyResource, body: Json) -> None:
    """Drop what a client may not set on a new object, then what the kind prepares."""
    strategy, meta = kind_of(resource).strategy, body["metadata"]
    for name in (*SYSTEM_METADATA, "resourceVersion", "selfLink", "managedFields"):
        meta.pop(name, None)
    if not strategy.keeps_new_status:
        body.pop("status", None)
    if strategy.has_generation:
        meta["generation"] = 1
    strategy.prepare_create(body)


# ---- update
def prepare_update(resource: AnyResource, new: Json, old: Json) -> None:
    """Keep the system's metadata and the status, then what the kind prepares."""
    _keep_metadata(new, old)
    if resource.has_status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    kind_of(resource).strategy.prepare_update(new, old)


def count_generation(resource: AnyResource, new: Json, old: Json) -> None:
    """Count a change of the wanted state; called when the new body is complete, defaults included."""
    if kind_of(resource).strategy.has_generation and wanted_state(new) != wanted_state(old):
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
    if kind_of(resource).strategy.status_has_metadata:
        for name in ("labels", "annotations"):
            meta.pop(name, None)
            if name in new["metadata"]:
                meta[name] = new["metadata"][name]
    return {**old, "metadata": meta, "status": new.get("status", {})}


# ---- what may not change
def _at(body: Json, path: str) -> Any:
    value: Any = body
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def change_problems(resource: AnyResource, new: Json, old: Json) -> list[FieldProblem]:
    """Return what an update changes and may not."""
    strategy = kind_of(resource).strategy
    return [
        *(
            FieldProblem(path, f"Invalid value: {json.dumps(value)}: field is immutable")
            for path in strategy.immutable
            if (value := _at(new, path)) != _at(old, path)
        ),
        *strategy.change_problems(new, old),
    ]
