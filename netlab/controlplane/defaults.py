"""Defaults: what Kubernetes fills into an object when it is written, kind by kind.

Only absent fields are filled, so applying defaults twice changes nothing. Fields that have no effect on the network
get their defaults too where `kubectl get -o yaml` would show them and clients compare them.
All functions edit the given body, which the write path owns.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

from netlab.api.catalogue import brings
from netlab.api.resources import Json
from netlab.controlplane.status import AnyResource

AFFINITY_SECONDS = 10800  # three hours (semantics 4.18)
WITH_CLUSTER_IP = frozenset({"ClusterIP", "NodePort", "LoadBalancer"})


def _fill(body: Json, defaults: Json) -> None:
    for name, value in defaults.items():
        body.setdefault(name, value)


def _items(body: Any, name: str) -> Iterable[Json]:
    values = body.get(name) if isinstance(body, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


# ---- Services
def externally_accessible(spec: Json) -> bool:
    """Tell whether traffic from outside the cluster can reach a Service: externalTrafficPolicy means something."""
    kind = spec.get("type")
    return kind in {"NodePort", "LoadBalancer"} or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def _service(body: Json) -> None:
    spec = body.setdefault("spec", {})
    _fill(spec, {"type": "ClusterIP", "sessionAffinity": "None"})
    if spec["sessionAffinity"] == "ClientIP":
        client_ip = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client_ip.setdefault("timeoutSeconds", AFFINITY_SECONDS)
    for port in _items(spec, "ports"):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in {None, 0, ""} and "port" in port:
            port["targetPort"] = port["port"]  # semantics 4.7
    if spec["type"] in WITH_CLUSTER_IP:
        _fill(spec, {"internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
    if externally_accessible(spec):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    body.setdefault("status", {}).setdefault("loadBalancer", {})


# ---- Pods and what makes them
_PROBE: Json = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def _probe(probe: Any) -> None:
    if not isinstance(probe, dict):
        return
    for name, value in _PROBE.items():
        probe[name] = probe.get(name) or value  # 0 means "the default" here, as in Kubernetes
    http = probe.get("httpGet")
    if isinstance(http, dict):
        http["path"] = http.get("path") or "/"
        http["scheme"] = http.get("scheme") or "HTTP"


def pull_policy(image: str) -> str:
    """Return the imagePullPolicy of a container that says none."""
    if "@" in image or brings(image):  # what netlab brings need not be pulled, whatever its tag
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in {"", "latest"} else "IfNotPresent"


def _container(container: Json, *, host_network: bool) -> None:
    for port in _items(container, "ports"):
        port.setdefault("protocol", "TCP")
        if host_network and not port.get("hostPort") and "containerPort" in port:
            port["hostPort"] = port["containerPort"]
    for variable in _items(container, "env"):
        source = variable.get("valueFrom")
        reference = source.get("fieldRef") if isinstance(source, dict) else None
        if isinstance(reference, dict):
            reference.setdefault("apiVersion", "v1")
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        _probe(container.get(name))
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(str(container.get("image", "")))
    _fill(container, {"resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})


def _pod_spec(spec: Any) -> None:
    if not isinstance(spec, dict):
        return
    for name, value in (("dnsPolicy", "ClusterFirst"), ("restartPolicy", "Always"), ("schedulerName", "default-scheduler")):
        spec[name] = spec.get(name) or value
    _fill(spec, {"terminationGracePeriodSeconds": 30, "securityContext": {}})
    for container in (*_items(spec, "containers"), *_items(spec, "initContainers")):
        _container(container, host_network=bool(spec.get("hostNetwork")))


def _pod(body: Json) -> None:
    spec = body.setdefault("spec", {})
    if isinstance(spec, dict):
        spec.setdefault("enableServiceLinks", True)
    _pod_spec(spec)


def _template(spec: Json) -> None:
    template = spec.get("template")
    if isinstance(template, dict):
        _pod_spec(template.setdefault("spec", {}))


_ROLLING: Json = {"maxUnavailable": "25%", "maxSurge": "25%"}


def _deployment(body: Json) -> None:
    spec = body.setdefault("spec", {})
    _fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    strategy = spec.setdefault("strategy", {})
    if isinstance(strategy, dict):
        strategy["type"] = strategy.get("type") or "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            if isinstance(rolling, dict):
                _fill(rolling, _ROLLING)
    _template(spec)


def _replica_set(body: Json) -> None:
    spec = body.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)


def _daemon_set(body: Json) -> None:
    spec = body.setdefault("spec", {})
    _fill(spec, {"revisionHistoryLimit": 10})
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    _template(spec)


# ---- the rest
def _namespace(body: Json) -> None:
    meta = body["metadata"]
    if "name" in meta:
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
    body.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    body.setdefault("status", {}).setdefault("phase", "Active")


def _secret(body: Json) -> None:
    body["type"] = body.get("type") or "Opaque"
    plain = body.pop("stringData", None)
    if isinstance(plain, dict) and plain:
        encoded = {name: base64.b64encode(str(text).encode()).decode() for name, text in plain.items()}
        body["data"] = {**body.get("data", {}), **encoded}


def _endpoints(body: Json) -> None:
    for subset in _items(body, "subsets"):
        for port in _items(subset, "ports"):
            port.setdefault("protocol", "TCP")


def _endpoint_slice(body: Json) -> None:
    for port in _items(body, "ports"):
        port.setdefault("protocol", "TCP")
        port.setdefault("name", "")


DEFAULTS: dict[str, Callable[[Json], None]] = {
    "Service": _service,
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "DaemonSet": _daemon_set,
    "Namespace": _namespace,
    "Secret": _secret,
    "Endpoints": _endpoints,
    "EndpointSlice": _endpoint_slice,
}


def apply_defaults(resource: AnyResource, body: Json) -> None:
    """Fill in what the user left out, as Kubernetes does on every write."""
    if fill := DEFAULTS.get(resource.kind):
        fill(body)
