"""metadata: how objects of each kind are named, annotated and owned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netlab.api.meta import Object
from netlab.api.resources import LABS, NAMESPACES, SERVICES, Resource
from netlab.topology import syntax
from netlab.topology.problem import Problem, forbidden, invalid, required
from netlab.topology.rules.annotations import annotation_problems

# Kinds whose name becomes one label of a DNS name; all others may hold dots.
NAME_SYNTAX = {
    SERVICES.kind: syntax.DNS_1035_LABEL,
    NAMESPACES.kind: syntax.DNS_LABEL,
    LABS.kind: syntax.LAB_NAME,
}


def metadata_problems(resource: Resource[Any], obj: Object) -> Iterator[Problem]:
    """Yield what is wrong with an object's name, namespace, annotations and owners."""
    meta = obj.metadata
    at = ("metadata", "name")
    if not meta.name and not meta.generate_name:
        yield required(at, "name or generateName is required")
    elif meta.name and (fault := NAME_SYNTAX.get(resource.kind, syntax.DNS_SUBDOMAIN).fault(meta.name)):
        yield invalid(at, meta.name, fault)
    if meta.namespace and not resource.namespaced:
        yield forbidden(("metadata", "namespace"), f"a {resource.kind} is not namespaced")
    yield from annotation_problems(resource.kind, meta.annotations, ("metadata", "annotations"))
    controllers = [reference for reference in meta.owner_references if reference.controller]
    if len(controllers) > 1:
        both = " and ".join(f"{owner.kind}/{owner.name}" for owner in controllers[:2])
        words = f'Only one reference can have Controller set to true. Found "true" in references for {both}'
        yield invalid(("metadata", "ownerReferences"), len(controllers), words)
