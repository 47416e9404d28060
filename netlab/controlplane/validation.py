"""Validation on write: the rules of the topology file, and names that can be files and paths.

`LabRules` is what the API server of a lab applies: the rules of `netlab validate` for one object,
with the lab's ranges, nodes and runtime. Rules between objects are not applied, as Kubernetes
accepts objects in any order: a pod may name a ConfigMap that comes later, and waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from netlab.api.lab import Lab, LabNode, Networking
from netlab.api.resources import LABS, NODES, Json
from netlab.controlplane.status import AnyResource, FieldProblem, Problem
from netlab.controlplane.store import Store
from netlab.topology.manifest import pod_plan
from netlab.topology.rules.placement import plan_problems
from netlab.topology.validation import problems_of as topology_problems_of

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def name_problems(body: Json) -> list[FieldProblem]:
    """Refuse a name that is not a DNS-1123 subdomain: it becomes a path, a file and a host name."""
    name = body["metadata"].get("name", "")
    if not name:
        return [FieldProblem("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")]
    if _NAME.fullmatch(name) and ".." not in name:
        return []
    text = (
        f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters,'
        " '-' or '.', and must start and end with an alphanumeric character"
    )
    return [FieldProblem("metadata.name", text)]


class LabRules:
    """The rules of one lab's API server. `lab` is the Lab until its object is in the store."""

    def __init__(self, lab: Lab, store: Store) -> None:
        self._lab, self._version = lab, 0
        self._name = lab.metadata.name
        self._store = store

    def __call__(self, resource: AnyResource, body: Json) -> Sequence[Problem]:
        """Return everything wrong with a complete object."""
        lab = self._current()
        found = problems_of(resource, body, lab.spec.networking)
        if resource is LABS and body["metadata"].get("name") != self._name:
            return [*found, self._stranger(str(body["metadata"].get("name", "")))]
        if found or self._is_same_wish(resource, body):
            return found
        plan = pod_plan(resource, resource.decode(body))
        return tuple(plan_problems(self._with_registered_nodes(lab), plan)) if plan else ()

    def _current(self) -> Lab:
        stored = self._store.get(LABS, "", self._name)
        if stored and stored.version != self._version:
            self._lab, self._version = LABS.decode(stored.body), stored.version
        return self._lab

    def _with_registered_nodes(self, lab: Lab) -> Lab:
        """Return the Lab with the nodes that exist as well, such as one that is leaving."""
        known = {node.name for node in lab.spec.nodes}
        more = [stored.key[1] for stored in self._store.list(NODES) if stored.key[1] not in known]
        nodes = (*lab.spec.nodes, *(LabNode(name=name) for name in more))
        return msgspec.structs.replace(lab, spec=msgspec.structs.replace(lab.spec, nodes=nodes)) if more else lab

    def _is_same_wish(self, resource: AnyResource, body: Json) -> bool:
        """Return True if a write leaves the spec as it is; a changed Lab does not refuse it then."""
        meta = body["metadata"]
        stored = self._store.get(resource, meta.get("namespace", ""), meta.get("name", ""))
        return stored is not None and stored.body.get("spec") == body.get("spec")

    def _stranger(self, name: str) -> Problem:
        text = f'Invalid value: "{name}": this API server serves lab "{self._name}" only'
        return FieldProblem("metadata.name", f"{text}; `netlab up FILE` creates another lab")


def problems_of(resource: AnyResource, body: Json, networking: Networking | None = None) -> Sequence[Problem]:
    """Return everything wrong with a complete object."""
    problems: list[Problem] = list(topology_problems_of(resource, body, networking))
    if not any(problem.path == "metadata.name" for problem in problems):
        problems = [*name_problems(body), *problems]
    return problems
