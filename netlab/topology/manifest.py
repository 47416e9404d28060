"""The content of a topology file, as values: the Lab and its manifests, and what the rules need to know of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from netlab.api import resources as r
from netlab.api.lab import Lab
from netlab.api.meta import Object
from netlab.api.pods import Container, PodSpec
from netlab.api.resources import Json, Resource
from netlab.api.wellknown import DEFAULT_NAMESPACE
from netlab.topology.decoding import Decoded
from netlab.topology.document import Document
from netlab.topology.problem import Problem, Steps


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object of a topology. `body` is as the user wrote it, with its namespace and without nulls and status."""

    resource: Resource[Any]
    body: Json
    source: str
    line: int


@dataclass(frozen=True)
class NamedImage:
    """An image that a container of a pod names. `place`: `file:line:column: path` of where it does."""

    container: Container
    place: str


@dataclass(frozen=True)
class Topology:
    """A valid topology. `notes` are hints, each `file:line:column: path: ...`.

    `states_node_subnet`: the file specifies its node subnet; if it does not, runtime docker may choose another.
    """

    lab: Lab
    manifests: tuple[Manifest, ...]
    notes: tuple[str, ...] = ()
    states_node_subnet: bool = False
    images: tuple[NamedImage, ...] = ()


@dataclass(frozen=True)
class PodPlan:
    """The pods an object makes: where they are described, how many (None: one per node), with which labels."""

    steps: Steps
    labels: Mapping[str, str]
    spec: PodSpec
    count: int | None


@dataclass(frozen=True, eq=False)
class Item:
    """One object of a topology with its document, `at` the place inside it (`items[3]` of a List)."""

    document: Document
    at: Steps
    resource: Resource[Any]
    decoded: Decoded
    obj: Object
    notes: tuple[Problem, ...] = ()  # what of it was left out

    @property
    def namespace(self) -> str:
        """Its namespace, empty for a cluster-scoped kind."""
        return (self.obj.metadata.namespace or DEFAULT_NAMESPACE) if self.resource.namespaced else ""

    @property
    def name(self) -> str:
        return self.obj.metadata.name

    @property
    def words(self) -> str:
        """`Service default/blue`, for messages."""
        return f"{self.resource.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.resource.kind} {self.name}"

    @property
    def place(self) -> str:
        """`file:line` of its beginning."""
        return f"{self.document.source}:{self.document.position(self.at)[0]}"

    @property
    def pods(self) -> PodPlan | None:
        """The pods it makes, None for kinds that make none."""
        return pod_plan(self.resource, self.obj)


def pod_plan(resource: Resource[Any], obj: Any) -> PodPlan | None:
    """Return the pods that an object makes, None for kinds that make none."""
    if resource is r.PODS:
        return PodPlan(("spec",), obj.metadata.labels, obj.spec, 1)
    if resource not in (r.DEPLOYMENTS, r.REPLICA_SETS, r.DAEMON_SETS):
        return None
    template = obj.spec.template
    count = None if resource is r.DAEMON_SETS else obj.spec.replicas
    return PodPlan(("spec", "template", "spec"), template.metadata.labels, template.spec, count)


Finding = tuple[Item, Problem]
