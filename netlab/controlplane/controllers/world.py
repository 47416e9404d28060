"""What controllers see: a frozen snapshot of the kinds they watch, with the indexes they share.

A controller is a pure function of a `World` and the time. Nothing in it asks the API server; what it wants done it
returns as writes. Indexes are computed at most once per snapshot, on first use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from netlab.api.apps import DaemonSet, Deployment, ReplicaSet
from netlab.api.cluster import Namespace, Node
from netlab.api.config import ConfigMap
from netlab.api.discovery import EndpointSlice
from netlab.api.lab import Lab
from netlab.api.meta import Labels, Object
from netlab.api.pods import Pod
from netlab.api.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    LABS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Resource,
)
from netlab.api.selection import has_labels
from netlab.api.services import Endpoints, Service
from netlab.api.wellknown import SERVICE_NAME_LABEL
from netlab.controlplane.controllers.ownership import controller_of

# The field of a World that holds each watched kind.
FIELDS: dict[str, Resource[Any]] = {
    "labs": LABS,
    "namespaces": NAMESPACES,
    "nodes": NODES,
    "pods": PODS,
    "services": SERVICES,
    "endpoints": ENDPOINTS,
    "endpoint_slices": ENDPOINT_SLICES,
    "config_maps": CONFIG_MAPS,
    "deployments": DEPLOYMENTS,
    "replica_sets": REPLICA_SETS,
    "daemon_sets": DAEMON_SETS,
}


@dataclass(frozen=True)
class World:
    """Typed objects by key (`namespace/name`, or `name`)."""

    labs: Mapping[str, Lab] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    pods: Mapping[str, Pod] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoints] = field(default_factory=dict)
    endpoint_slices: Mapping[str, EndpointSlice] = field(default_factory=dict)
    config_maps: Mapping[str, ConfigMap] = field(default_factory=dict)
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    replica_sets: Mapping[str, ReplicaSet] = field(default_factory=dict)
    daemon_sets: Mapping[str, DaemonSet] = field(default_factory=dict)

    @classmethod
    def of(cls, objects: Iterable[Object]) -> World:
        """Return the world that consists of the given objects."""
        by_type = {resource.type: name for name, resource in FIELDS.items()}
        fields: dict[str, dict[str, Any]] = {name: {} for name in FIELDS}
        for obj in objects:
            fields[by_type[type(obj)]][obj.key] = obj
        return cls(**fields)

    @property
    def lab(self) -> Lab | None:
        """The lab's own description; None before `up` has written it."""
        return next(iter(self.labs.values()), None)

    @cached_property
    def unready_nodes(self) -> frozenset[str]:
        """Names of the nodes whose kubelet says that they are not ready."""
        conditions = ((name, c) for name, node in self.nodes.items() for c in node.status.conditions)
        return frozenset(name for name, c in conditions if c.type == "Ready" and c.status != "True")

    @cached_property
    def expected_nodes(self) -> frozenset[str]:
        """Names of the nodes that the lab lists, whether or not they have registered."""
        return frozenset(node.name for node in self.lab.spec.nodes) if self.lab else frozenset()

    def pod_names(self, namespace: str) -> frozenset[str]:
        """Return the names of all pods of a namespace, those on their way out included."""
        return frozenset(self._pod_names.get(namespace, ()))

    @cached_property
    def _pod_names(self) -> Mapping[str, set[str]]:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for pod in self.pods.values():
            found[pod.metadata.namespace].add(pod.metadata.name)
        return found

    def nodes_of(self, owner: DaemonSet) -> list[Node]:
        """Return the nodes that are to have a pod of a DaemonSet, by name."""
        selector = owner.spec.template.spec.node_selector
        nodes = (self.nodes[name] for name in sorted(self.nodes))
        return [node for node in nodes if node.metadata.deletion_timestamp is None and has_labels(node.metadata.labels, selector)]

    @cached_property
    def replica_sets_by_namespace(self) -> Mapping[str, list[ReplicaSet]]:
        """All ReplicaSets of each namespace, by name."""
        found: defaultdict[str, list[ReplicaSet]] = defaultdict(list)
        for key in sorted(self.replica_sets):
            found[self.replica_sets[key].metadata.namespace].append(self.replica_sets[key])
        return found

    def claimable_pods(self, owner: Object) -> list[Pod]:
        """Return the pods that an owner controls and those of its namespace that nobody controls, by name."""
        return [*self.pods_of(owner), *self._pods_by_controller.get(("", owner.metadata.namespace), ())]

    def pods_of(self, owner: Object) -> list[Pod]:
        """Return the pods that an owner controls, by name."""
        return self._pods_by_controller.get((owner.metadata.uid, owner.metadata.namespace), [])

    @cached_property
    def _pods_by_controller(self) -> Mapping[tuple[str, str], list[Pod]]:
        found: defaultdict[tuple[str, str], list[Pod]] = defaultdict(list)
        for key in sorted(self.pods):
            pod = self.pods[key]
            reference = controller_of(pod)
            found[reference.uid if reference else "", pod.metadata.namespace].append(pod)
        return found

    @cached_property
    def slices_by_service(self) -> Mapping[str, list[EndpointSlice]]:
        """EndpointSlices by `namespace/service` of their label, by name."""
        found: defaultdict[str, list[EndpointSlice]] = defaultdict(list)
        for key in sorted(self.endpoint_slices):
            piece = self.endpoint_slices[key]
            if SERVICE_NAME_LABEL in piece.metadata.labels:
                found[piece.service_key].append(piece)
        return found

    def slice_names(self, namespace: str) -> set[str]:
        """Return the names of all EndpointSlices of a namespace."""
        return self._slice_names.get(namespace, set())

    @cached_property
    def _slice_names(self) -> Mapping[str, set[str]]:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for piece in self.endpoint_slices.values():
            found[piece.metadata.namespace].add(piece.metadata.name)
        return found

    @cached_property
    def _pods_by_label(self) -> Mapping[tuple[str, str, str], list[Pod]]:
        found: defaultdict[tuple[str, str, str], list[Pod]] = defaultdict(list)
        for key in sorted(self.pods):
            meta = self.pods[key].metadata
            for label, value in meta.labels.items():
                found[meta.namespace, label, value].append(self.pods[key])
        return found

    def select_pods(self, namespace: str, labels: Labels) -> list[Pod]:
        """Return the pods of a namespace that have all these labels, by name. No labels select nothing."""
        if not labels:
            return []
        candidates = [self._pods_by_label.get((namespace, label, value), []) for label, value in labels.items()]
        return [pod for pod in min(candidates, key=len) if has_labels(pod.metadata.labels, labels)]
