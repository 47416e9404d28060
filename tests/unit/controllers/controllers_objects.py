"""Objects for controller tests, in one call each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec

from netlab.api.apps import DaemonSet, Deployment, ReplicaSet
from netlab.api.cluster import Namespace, Node
from netlab.api.events import Event
from netlab.api.lab import Lab
from netlab.api.meta import Object
from netlab.api.pods import Pod
from netlab.api.services import Endpoints, Service
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Delete, Patch, Write, is_event

NOW = "2026-01-01T00:00:00Z"


def meta(name: str, namespace: str | None = "default", **more: Any) -> dict[str, Any]:
    """Return metadata whose uid is the name."""
    base = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "creationTimestamp": NOW}
    return {k: v for k, v in {**base, **more}.items() if v is not None}


def owned_by(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}]


def pod(name: str, *, node: str = "", ip: str = "", ready: bool = True, phase: str = "Running", **more: Any) -> Pod:
    """Return a pod; `labels`, `owner`, `deleted`, `ports`, `created`, other keys go into its spec."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": more.pop("since", NOW)}]
    metadata = meta(
        name, more.pop("namespace", "default"), labels=more.pop("labels", {}), creationTimestamp=more.pop("created", NOW)
    )
    metadata["annotations"] = more.pop("annotations", {})
    if owner := more.pop("owner", None):
        metadata["ownerReferences"] = owned_by(*owner)
    if more.pop("deleted", False):
        metadata["deletionTimestamp"] = NOW
    container = {"name": "c", "image": "i", "ports": more.pop("ports", [])}
    spec = {"containers": [container], "nodeName": node, **more}
    status = {"phase": phase, "podIP": ip, "conditions": conditions}
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, Pod)


def node(name: str, ip: str = "", *, labels: dict[str, str] | None = None, cidr: str = "", unschedulable: bool = False) -> Node:
    """Return a node."""
    body = {
        "metadata": meta(name, namespace=None, labels=labels or {}),
        "spec": {"podCIDR": cidr, "unschedulable": unschedulable},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}] if ip else []},
    }
    return msgspec.convert(body, Node)


def service(name: str, *, labels: dict[str, str] | None = None, status: dict[str, Any] | None = None, **spec: Any) -> Service:
    """Return a Service on port 80 with selector app=blue unless told otherwise."""
    body = {
        "metadata": meta(name, labels=labels or {}),
        "spec": {"selector": {"app": "blue"}, "ports": [{"port": 80}], "clusterIP": "10.96.0.5", **spec},
        "status": status or {},
    }
    return msgspec.convert(body, Service)


def lab(nodes: tuple[str, ...] = (), **spec: Any) -> Lab:
    """Return a lab that lists nodes."""
    return msgspec.convert({"metadata": {"name": "lab"}, "spec": {"nodes": [{"name": n} for n in nodes], **spec}}, Lab)


def workload(cls: type[Any], name: str, *, replicas: int | None = None, image: str = "i", **more: Any) -> Any:
    """Return a Deployment, ReplicaSet or DaemonSet of pods app=blue."""
    template = {
        "metadata": {"labels": {"app": "blue"}},
        "spec": {"containers": [{"name": "c", "image": image}], **more.pop("pod", {})},
    }
    spec = {"selector": {"matchLabels": {"app": "blue"}}, "template": template, **more.pop("spec", {})}
    if replicas is not None:
        spec["replicas"] = replicas
    status = more.pop("status", {})
    return msgspec.convert({"metadata": meta(name, **{"generation": 1, **more}), "spec": spec, "status": status}, cls)


def endpoints(name: str, subsets: list[Any], **more: Any) -> Endpoints:
    """Return an Endpoints object."""
    return msgspec.convert({"metadata": meta(name, **more), "subsets": subsets}, Endpoints)


def deployment(name: str, **more: Any) -> Deployment:
    """Return a Deployment of pods app=blue."""
    return cast("Deployment", workload(Deployment, name, **more))


def replica_set(name: str, **more: Any) -> ReplicaSet:
    """Return a ReplicaSet of pods app=blue."""
    return cast("ReplicaSet", workload(ReplicaSet, name, **more))


def daemon_set(name: str, **more: Any) -> DaemonSet:
    """Return a DaemonSet of pods app=blue."""
    return cast("DaemonSet", workload(DaemonSet, name, **more))


def namespace(name: str) -> Namespace:
    """Return a namespace."""
    return msgspec.convert({"metadata": meta(name, None)}, Namespace)


def words(writes: list[Write], *, events: bool = False) -> list[str]:
    """Return what writes say of themselves; Events only when asked for."""
    return [str(write) for write in writes if events or not is_event(write)]


def messages(writes: list[Write]) -> list[str]:
    """Return what the Events among the writes tell the user: `reason: message`."""
    return [f"{e.reason}: {e.message}" for w in writes if is_event(w) and isinstance(e := written(w), Event)]


def written(write: Write) -> Any:
    """Return the object that a write carries."""
    assert not isinstance(write, Patch | Delete)
    return write.object


def settle(reconcile: Callable[[World, str], list[Write]], objects: Iterable[Object]) -> list[Write]:
    """Return what a controller wants in a world of these objects."""
    return reconcile(World.of(objects), NOW)
