"""The table of kinds is the only place where the API server keeps facts of one kind."""

from __future__ import annotations

import pkgutil

import pytest

from netlab.api.resources import RESOURCES
from netlab.controlplane import kinds
from netlab.controlplane.kinds.table import KINDS, kind_of
from netlab.controlplane.server import SUBRESOURCE_METHODS
from netlab.topology.manifest import pod_plan


def test_every_resource_has_one_kind():
    """Resources and kinds are the same list, in the same order."""
    assert tuple(kind.resource for kind in KINDS) == RESOURCES
    assert all(kind_of(resource).resource is resource for resource in RESOURCES)


def test_every_kind_has_one_module():
    """A kind is one file, named after it, and its file is in the table."""
    shared = {"filling", "kind", "table"}
    modules = {module.name for module in pkgutil.iter_modules(kinds.__path__)} - shared
    words = {kind.resource.kind.lower() for kind in KINDS}
    assert {module.replace("_", "") for module in modules} == words


def test_every_subresource_has_handlers():
    """The server handles the verbs that a subresource lists, and no others."""
    methods = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH"}
    subresources = [subresource for kind in KINDS for subresource in kind.subresources]
    listed = {below.name: {methods[verb] for verb in below.verbs} for below in subresources}
    assert {name: set(table) for name, table in SUBRESOURCE_METHODS.items()} == listed


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_kinds_that_make_pods(kind):
    """The kinds that make pods are those whose manifests have pods in a topology file."""
    resource = kind.resource
    empty = resource.decode({"metadata": {"name": "x"}, "spec": {}})
    assert kind.makes_pods == (pod_plan(resource, empty) is not None)
