"""Pods. Images are the part of a spec that may change; an empty nodeName may be set once."""

from __future__ import annotations

from typing import Final

from netlab.api.numbers import whole_number
from netlab.api.resources import PODS, Json
from netlab.controlplane.kinds.kind import Kind, Strategy, Subresource
from netlab.controlplane.status import FieldProblem

DEFAULT_GRACE: Final = 30  # seconds, as in Kubernetes
LONGEST_GRACE: Final = 10**9  # seconds; a deadline further away is not a date


def _prepare_create(body: Json) -> None:
    body["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


def _change_problems(new: Json, old: Json) -> list[FieldProblem]:
    if _fixed(new, old) == _fixed(old, old):
        return []
    text = (
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only"
        " additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be"
        " set to 1 if it was previously negative)"
    )
    return [FieldProblem("spec", text, "FieldValueForbidden")]


def _fixed(body: Json, old: Json) -> Json:
    spec = dict(body["spec"])
    for name in ("activeDeadlineSeconds", "tolerations"):
        spec.pop(name, None)
    if not old["spec"].get("nodeName"):
        spec.pop("nodeName", None)
    for name in ("containers", "initContainers"):
        spec[name] = [{**container, "image": ""} for container in spec.get(name, ())]
    return spec


def _grace(body: Json, asked: int | None) -> int:
    """Return how long a pod may take to end: 0 seconds if nothing of it runs."""
    is_ended = body.get("status", {}).get("phase") in {"Succeeded", "Failed"}
    if is_ended or not body["spec"].get("nodeName"):
        return 0
    if asked is not None:
        return asked
    stated = body["spec"].get("terminationGracePeriodSeconds")
    return whole_number(stated, DEFAULT_GRACE, most=LONGEST_GRACE)


KIND: Final = Kind(
    PODS,
    Strategy(
        status_has_metadata=True,
        prepare_create=_prepare_create,
        change_problems=_change_problems,
        grace=_grace,
    ),
    selectable=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    categories=("all",),
    more_subresources=(Subresource("binding", "Binding", ("create",)),),
    returns_deleted=True,
)
