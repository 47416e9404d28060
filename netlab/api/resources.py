"""The table of kinds the API server serves: REST path, kind, scope and Python type of each."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from netlab.api import apps, cluster, config, coordination, discovery, events, lab, pods, services
from netlab.api.meta import Object
from netlab.errors import UnreadableError

Json = dict[str, Any]  # an object as it is stored and sent: Kubernetes' own JSON
T = TypeVar("T", bound=Object)


@dataclass(frozen=True)
class Resource(Generic[T]):
    """One kind. `group` is empty for core; `plural` is the word in the REST path."""

    group: str
    version: str
    plural: str
    kind: str
    type: type[T]
    namespaced: bool = True
    has_status: bool = False
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the REST path of the collection (all namespaces when none is given) or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = f"/{name}" if name else ""
        sub = f"/{subresource}" if subresource else ""
        return f"{root}{scope}/{self.plural}{tail}{sub}"

    def decode(self, obj: Json) -> T:
        """Turn stored JSON into the typed object. Unknown fields are ignored: the server has refused them before.

        Raises UnreadableError, with the field, for what is not an object of this kind.
        """
        try:
            return msgspec.convert(obj, self.type)
        except msgspec.ValidationError as error:
            raise UnreadableError(str(error)) from error

    def readable(self, objects: Iterable[Json]) -> list[T]:
        """Return those of some objects that decode: one that does not decode is left out."""
        found = []
        for obj in objects:
            with suppress(UnreadableError):
                found.append(self.decode(obj))
        return found

    def encode(self, obj: T) -> Json:
        """Turn a typed object into JSON, `apiVersion` and `kind` filled in."""
        body: Json = msgspec.json.decode(msgspec.json.encode(obj))  # lists, as in stored JSON
        return {**body, "apiVersion": self.api_version, "kind": self.kind}


NAMESPACES = Resource(
    "", "v1", "namespaces", "Namespace", cluster.Namespace, namespaced=False, has_status=True, short_names=("ns",)
)
NODES = Resource("", "v1", "nodes", "Node", cluster.Node, namespaced=False, has_status=True, short_names=("no",))
PODS = Resource("", "v1", "pods", "Pod", pods.Pod, has_status=True, short_names=("po",))
SERVICES = Resource("", "v1", "services", "Service", services.Service, has_status=True, short_names=("svc",))
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", services.Endpoints, short_names=("ep",))
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", config.ConfigMap, short_names=("cm",))
SECRETS = Resource("", "v1", "secrets", "Secret", config.Secret)
EVENTS = Resource("", "v1", "events", "Event", events.Event, short_names=("ev",))
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", apps.Deployment, has_status=True, short_names=("deploy",))
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", apps.ReplicaSet, has_status=True, short_names=("rs",))
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet", apps.DaemonSet, has_status=True, short_names=("ds",))
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", discovery.EndpointSlice)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", coordination.Lease)
LABS = Resource("netlab", "v1alpha1", "labs", "Lab", lab.Lab, namespaced=False, has_status=True)

RESOURCES: tuple[Resource[Any], ...] = (
    NAMESPACES, NODES, PODS, SERVICES, ENDPOINTS, CONFIG_MAPS, SECRETS, EVENTS,
    DEPLOYMENTS, REPLICA_SETS, DAEMON_SETS, ENDPOINT_SLICES, LEASES, LABS,
)  # fmt: skip
BY_KIND: dict[tuple[str, str], Resource[Any]] = {(r.api_version, r.kind): r for r in RESOURCES}
BY_PATH: dict[tuple[str, str, str], Resource[Any]] = {(r.group, r.version, r.plural): r for r in RESOURCES}
BY_PLURAL: dict[str, Resource[Any]] = {r.plural: r for r in RESOURCES}  # no plural is used twice
BY_TYPE: dict[type[Object], Resource[Any]] = {r.type: r for r in RESOURCES}
