"""Binding: the body by which a scheduler assigns a pod to a node, read as any other object is."""

from __future__ import annotations

from typing import Any, Final

from netlab.api.meta import Object, ObjectReference
from netlab.api.resources import NODES, Resource
from netlab.controlplane.admission import ingest
from netlab.controlplane.status import FieldProblem, bad_request, invalid
from netlab.topology.syntax import DNS_SUBDOMAIN


class Binding(Object, frozen=True, kw_only=True):
    """core/v1 Binding. It is a request, not an object: nothing stores it."""

    target: ObjectReference = ObjectReference()


BINDINGS: Final[Resource[Binding]] = Resource("", "v1", "bindings", "Binding", Binding, namespaced=False)


def binding_target(body: Any, pod: str) -> str:
    """Return the node that a Binding names; 400 for wrong types, 422 for a name no node can have."""
    taken = ingest(BINDINGS, body, "", "Warn").body
    if taken["metadata"].get("name", pod) != pod:
        raise bad_request(f"the name in the body of the Binding is not that of the pod in the URL ({pod})")
    target = taken.get("target", {})
    problems = []
    if (kind := target.get("kind", "")) not in {"", NODES.kind}:
        words = f'Unsupported value: "{kind}": supported values: "{NODES.kind}"'
        problems.append(FieldProblem("target.kind", words, "FieldValueNotSupported"))
    node = str(target.get("name", ""))
    if not node:
        problems.append(FieldProblem("target.name", "Required value", "FieldValueRequired"))
    elif fault := DNS_SUBDOMAIN.fault(node):
        problems.append(FieldProblem("target.name", f'Invalid value: "{node}": {fault}'))
    if problems:
        raise invalid(BINDINGS, pod, problems)
    return node
