"""The input of controllers: a frozen snapshot of the kinds they watch, with the indexes they share.

A controller is a pure function of a `World` and the time. It sends no request to the API server; it returns its
changes as writes. Indexes are computed at most once per snapshot, on first use; an object that cannot be indexed is
left out, and `unindexed` names it.

An object that exists and cannot be decoded is in `unreadable` alone. A controller must not take it for one that is gone:
what belongs to it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, get_args, get_origin, get_type_hints

from netlab.api.apps import DaemonSet, Deployment, ReplicaSet
from netlab.api.cluster import Namespace, Node
from netlab.api.config import ConfigMap
from netlab.api.discovery import EndpointSlice
from netlab.api.lab import Lab
from netlab.api.meta import Labels, Object
from netlab.api.pods import Pod
from netlab.api.resources import BY_TYPE, Resource
from netlab.api.selection import has_labels
from netlab.api.services import Endpoints, Service
from netlab.api.wellknown import SERVICE_NAME_LABEL
from netlab.controlplane.controllers.ownership import controller_of
from netlab.controlplane.controllers.per_object import Failed, grouped


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
    unreadable: frozenset[str] = frozenset()  # objects that exist and do not decode: `nodes/node1`
    failing: frozenset[str] = frozenset()  # objects that their controllers could not plan for: `deployments/default/blue`
    failures: list[Failed] = field(default_factory=list, compare=False)  # objects that the indexes leave out

    @classmethod
    def of(cls, objects: Iterable[Object]) -> World:
        """Return the world that consists of the given objects."""
        by_type = {resource.type: name for name, resource in FIELDS.items()}
        fields: dict[str, Any] = {name: {} for name in FIELDS}
        for obj in objects:
            fields[by_type[type(obj)]][obj.key] = obj
        return cls(**fields)

    @property
    def lab(self) -> Lab | None:
        """The lab's own description; None before `up` has written it."""
        return next(iter(self.labs.values()), None)

    @cached_property
    def unready_nodes(self) -> frozenset[str]:
        """Names of the nodes whose kubelet reports that they are not ready."""
        conditions = ((name, c) for name, node in self.nodes.items() for c in node.status.conditions)
        return frozenset(name for name, c in conditions if c.type == "Ready" and c.status != "True")

    @cached_property
    def expected_nodes(self) -> frozenset[str]:
        """Names of the nodes that the lab lists, whether or not they have registered."""
        return frozenset(node.name for node in self.lab.spec.nodes) if self.lab else frozenset()

    def unindexed(self) -> list[Failed]:
        """Return the objects that an index leaves out."""
        _ = self._pod_names, self.replica_sets_by_namespace, self._pods_by_controller, self._pods_by_label
        _ = self.slices_by_service, self._slice_names
        return list({failed.key: failed for failed in self.failures}.values())

    def is_unreadable(self, resource: Resource[Any], key: str) -> bool:
        """Return whether an object exists that cannot be decoded."""
        return f"{resource.plural}/{key}" in self.unreadable

    def pod_names(self, namespace: str) -> frozenset[str]:
        """Return the names of all pods of a namespace, terminating ones included."""
        return self._pod_names.get(namespace, frozenset())

    @cached_property
    def _pod_names(self) -> Mapping[str, frozenset[str]]:
        by_namespace = grouped(self.pods, lambda pod: [pod.metadata.namespace], self.failures)
        return {namespace: _names(pods) for namespace, pods in by_namespace.items()}

    def nodes_of(self, owner: DaemonSet) -> list[Node]:
        """Return the nodes that are to have a pod of a DaemonSet, by name."""
        selector = owner.spec.template.spec.node_selector
        nodes = (self.nodes[name] for name in sorted(self.nodes))
        return [node for node in nodes if node.metadata.deletion_timestamp is None and has_labels(node.metadata.labels, selector)]

    @cached_property
    def replica_sets_by_namespace(self) -> Mapping[str, list[ReplicaSet]]:
        """All ReplicaSets of each namespace, by name."""
        return grouped(self.replica_sets, lambda owner: [owner.metadata.namespace], self.failures)

    def claimable_pods(self, owner: Object) -> list[Pod]:
        """Return the pods that an owner controls and those of its namespace without a controller, by name."""
        return [*self.pods_of(owner), *self._pods_by_controller.get(("", owner.metadata.namespace), ())]

    def pods_of(self, owner: Object) -> list[Pod]:
        """Return the pods that an owner controls, by name."""
        return self._pods_by_controller.get((owner.metadata.uid, owner.metadata.namespace), [])

    @cached_property
    def _pods_by_controller(self) -> Mapping[tuple[str, str], list[Pod]]:
        return grouped(self.pods, lambda pod: [(_controller_uid(pod), pod.metadata.namespace)], self.failures)

    @cached_property
    def slices_by_service(self) -> Mapping[str, list[EndpointSlice]]:
        """EndpointSlices by `namespace/service` of their label, by name."""
        return grouped(
            self.endpoint_slices,
            lambda piece: [piece.service_key] if SERVICE_NAME_LABEL in piece.metadata.labels else [],
            self.failures,
        )

    def slice_names(self, namespace: str) -> frozenset[str]:
        """Return the names of all EndpointSlices of a namespace."""
        return self._slice_names.get(namespace, frozenset())

    @cached_property
    def _slice_names(self) -> Mapping[str, frozenset[str]]:
        by_namespace = grouped(self.endpoint_slices, lambda piece: [piece.metadata.namespace], self.failures)
        return {namespace: _names(slices) for namespace, slices in by_namespace.items()}

    @cached_property
    def _pods_by_label(self) -> Mapping[tuple[str, str, str], list[Pod]]:
        def entries(pod: Pod) -> list[tuple[str, str, str]]:
            return [(pod.metadata.namespace, label, value) for label, value in pod.metadata.labels.items()]

        return grouped(self.pods, entries, self.failures)

    def select_pods(self, namespace: str, labels: Labels) -> list[Pod]:
        """Return the pods of a namespace that have all these labels, by name. No labels select nothing."""
        if not labels:
            return []
        candidates = [self._pods_by_label.get((namespace, label, value), []) for label, value in labels.items()]
        return [pod for pod in min(candidates, key=len) if has_labels(pod.metadata.labels, labels)]


# The fields of a World that hold objects, and the resource in each: what the controllers watch.
_MAPS = {name: hint for name, hint in get_type_hints(World).items() if get_origin(hint) is Mapping}
FIELDS: Final = {name: BY_TYPE[get_args(hint)[1]] for name, hint in _MAPS.items()}


def _names(objects: Iterable[Object]) -> frozenset[str]:
    return frozenset(obj.metadata.name for obj in objects)


def _controller_uid(obj: Object) -> str:
    """Return the uid of an object's controller, "" if it has none."""
    reference = controller_of(obj)
    return reference.uid if reference else ""
