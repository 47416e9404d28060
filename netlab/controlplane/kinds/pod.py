"""Pods. Images are the part of a spec that may change; an empty nodeName may be set once."""

from __future__ import annotations

from typing import Any, Final

from netlab.api.catalogue import brings
from netlab.api.numbers import whole_number
from netlab.api.resources import PODS, Json
from netlab.controlplane.kinds.filling import fill, maps_in
from netlab.controlplane.kinds.kind import Kind, Strategy, Subresource
from netlab.controlplane.status import FieldProblem

DEFAULT_GRACE: Final = 30  # seconds, as in Kubernetes
LONGEST_GRACE: Final = 10**9  # seconds; a deadline further away is not a date

_PROBE: Json = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
_SPEC: Json = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
}


# ---- defaults
def _fill_probe(probe: Any) -> None:
    if not isinstance(probe, dict):
        return
    for name, value in _PROBE.items():
        probe[name] = probe.get(name) or value  # 0 means "the default" here, as in Kubernetes
    http = probe.get("httpGet")
    if isinstance(http, dict):
        http["path"] = http.get("path") or "/"
        http["scheme"] = http.get("scheme") or "HTTP"


def pull_policy(image: str) -> str:
    """Return the imagePullPolicy of a container that has none."""
    if "@" in image or brings(image):  # netlab's own images need no pull, whatever their tag
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in {"", "latest"} else "IfNotPresent"


def _container(container: Json, *, host_network: bool) -> None:
    for port in maps_in(container, "ports"):
        port.setdefault("protocol", "TCP")
        if host_network and not port.get("hostPort") and "containerPort" in port:
            port["hostPort"] = port["containerPort"]
    for variable in maps_in(container, "env"):
        source = variable.get("valueFrom")
        reference = source.get("fieldRef") if isinstance(source, dict) else None
        if isinstance(reference, dict):
            reference.setdefault("apiVersion", "v1")
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        _fill_probe(container.get(name))
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(str(container.get("image", "")))
    fill(container, {"resources": {}, "terminationMessagePath": "/dev/termination-log"})
    container.setdefault("terminationMessagePolicy", "File")


def _pod_spec(spec: Any) -> None:
    if not isinstance(spec, dict):
        return
    for name, value in _SPEC.items():
        spec[name] = spec.get(name) or value
    fill(spec, {"terminationGracePeriodSeconds": 30, "securityContext": {}})
    for container in (*maps_in(spec, "containers"), *maps_in(spec, "initContainers")):
        _container(container, host_network=bool(spec.get("hostNetwork")))


def fill_template(spec: Json) -> None:
    """Fill the template of pods in the spec of a workload."""
    template = spec.get("template")
    if isinstance(template, dict):
        _pod_spec(template.setdefault("spec", {}))


def _defaults(body: Json) -> None:
    spec = body.setdefault("spec", {})
    if isinstance(spec, dict):
        spec.setdefault("enableServiceLinks", True)
    _pod_spec(spec)


# ---- the strategy
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
    defaults=_defaults,
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
    makes_pods=True,
    more_subresources=(Subresource("binding", "Binding", ("create",)),),
    returns_deleted=True,
)
