"""metadata: how objects of each kind are named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netlab.api.meta import Object
from netlab.api.resources import LABS, NAMESPACES, SERVICES, Resource
from netlab.topology import syntax
from netlab.topology.problem import Problem, forbidden, invalid, required

# Kinds whose name becomes one label of a DNS name; all others may hold dots.
NAME_SYNTAX = {
    SERVICES.kind: syntax.DNS_1035_LABEL,
    NAMESPACES.kind: syntax.DNS_LABEL,
    LABS.kind: syntax.LAB_NAME,
}
LONGEST_ANNOTATIONS = 256 * 1024


def metadata_problems(resource: Resource[Any], obj: Object) -> Iterator[Problem]:
    """Yield what is wrong with an object's name, namespace and annotations."""
    meta = obj.metadata
    at = ("metadata", "name")
    if not meta.name and not meta.generate_name:
        yield required(at, "name or generateName is required")
    elif meta.name and (fault := NAME_SYNTAX.get(resource.kind, syntax.DNS_SUBDOMAIN).fault(meta.name)):
        yield invalid(at, meta.name, fault)
    if meta.namespace and not resource.namespaced:
        yield forbidden(("metadata", "namespace"), f"a {resource.kind} belongs to no namespace")
    if sum(len(key) + len(text) for key, text in meta.annotations.items()) > LONGEST_ANNOTATIONS:
        yield invalid(("metadata", "annotations"), "...", f"must have at most {LONGEST_ANNOTATIONS} bytes")
