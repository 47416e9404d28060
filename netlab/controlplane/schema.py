"""What a body may hold: unknown fields are found and pruned, types are checked, before anything else looks at it.

Kubernetes decodes into typed objects, so that what it does not know never reaches its store. netlab stores JSON; this
module makes the same true: from the types of `netlab.api` it derives, once per kind, the tree of known field names
(`Shape`) and walks every body along it. A null means "not given", as it does to Go's decoder, and is dropped; below
an `Inert` field anything is kept as it is.
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec

from netlab.api.meta import Struct
from netlab.api.resources import Json
from netlab.controlplane.status import AnyResource, cannot_be_handled


@dataclass(eq=False)
class Shape:
    """The known fields of one struct. `fields` maps wire names to the shape below, None where a leaf is."""

    fields: dict[str, Shape | None] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()  # fields that hold a list of that shape


@cache
def shape_of(kind: type[Struct]) -> Shape:
    """Return the tree of field names below an API type."""
    shape = Shape()
    hints = typing.get_type_hints(kind)
    lists = set()
    for info in msgspec.structs.fields(kind):
        below, is_list = _struct_in(hints[info.name])
        shape.fields[info.encode_name] = shape_of(below) if below else None
        if is_list:
            lists.add(info.encode_name)
    shape.lists = frozenset(lists)
    return shape


def _struct_in(hint: Any) -> tuple[type[Struct] | None, bool]:
    """Return the struct type that a field holds, directly, optionally or in a tuple, and whether it is the tuple."""
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        found = [_struct_in(option) for option in typing.get_args(hint)]
        return next((pair for pair in found if pair[0]), (None, False))
    if origin is tuple:
        return _struct_in(typing.get_args(hint)[0])[0], True
    if isinstance(hint, type) and issubclass(hint, Struct):
        return hint, False
    return None, False


def prune(resource: AnyResource, body: Json) -> tuple[str, ...]:
    """Drop unknown fields and nulls from a body, in place; returns the paths of the unknown ones, in order."""
    unknown: list[str] = []
    kind: type[Struct] = resource.type
    _prune(shape_of(kind), body, "", unknown)
    return tuple(unknown)


def _prune(shape: Shape, body: Json, path: str, unknown: list[str]) -> None:
    for name in tuple(body):
        value = body[name]
        if name not in shape.fields:
            unknown.append(f"{path}{name}")
            del body[name]
        elif value is None:
            del body[name]
        elif (below := shape.fields[name]) is not None:
            _prune_below(below, value, f"{path}{name}", unknown)


def _prune_below(shape: Shape, value: Any, path: str, unknown: list[str]) -> None:
    if isinstance(value, dict):
        _prune(shape, value, f"{path}.", unknown)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                _prune(shape, item, f"{path}[{index}].", unknown)


def check_types(resource: AnyResource, body: Json) -> None:
    """Refuse a body that does not decode into its type, so that every stored object does."""
    try:
        msgspec.convert(body, resource.type)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        path = where.strip("`").removeprefix("$.")
        raise cannot_be_handled(resource, f"{path}: {what}" if path else what) from error
