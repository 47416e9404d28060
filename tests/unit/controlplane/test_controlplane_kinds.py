"""The table of kinds is the only place where the API server keeps facts of one kind."""

from __future__ import annotations

import ast
import pkgutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from netlab import controlplane
from netlab.api.resources import RESOURCES, Resource
from netlab.controlplane import kinds
from netlab.controlplane.kinds.table import KINDS, kind_of
from netlab.controlplane.server import SUBRESOURCE_METHODS
from netlab.controlplane.status import group_resource
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


# Tables of some kinds that hold no facts of a kind.
WATCHED = {"controllers.world._MAPS", "controllers.world.FIELDS", "manager.FIELDS", "manager.KINDS"}
RIGHTS = {"restriction.CHECKS"}  # what the token of a node may change
OUTSIDE = [
    module.name
    for module in pkgutil.walk_packages(controlplane.__path__, "netlab.controlplane.")
    if not module.name.startswith(kinds.__name__)
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_other_module_names_a_kind(name):
    """Outside of `kinds` no code of the control plane compares or lists names of kinds."""
    source = Path(str(find_spec(name).origin)).read_text()
    names = {resource.kind for resource in RESOURCES}
    texts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    assert [] == [f"line {text.lineno}: {text.value!r}" for text in texts if text.value in names]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_other_module_has_a_table_of_some_kinds(name):
    """A table of some kinds holds facts of these kinds, and belongs into `Kind`."""
    words = {word: r for r in RESOURCES for word in (r, r.kind, r.plural, group_resource(r))}
    tables = {}
    for variable, value in vars(import_module(name)).items():
        if isinstance(value, dict | set | frozenset | list | tuple):
            entries = [entry for entry in value if isinstance(entry, str | Resource)]
            tables[variable] = {words[entry].kind for entry in entries if entry in words}
    module = name.removeprefix("netlab.controlplane.")
    found = {f"{module}.{variable}" for variable, of in tables.items() if 0 < len(of) < len(KINDS)}
    assert found <= WATCHED | RIGHTS
