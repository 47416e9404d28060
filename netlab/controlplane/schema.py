"""The schema of a body: unknown fields are found and pruned, types are checked, before anything else looks at it.

Kubernetes decodes into typed objects, so that unknown fields never reach its store. netlab stores JSON; this
module makes the same true: from the types of `netlab.api` it derives, once per kind, the tree of known field names
(`Shape`) and walks every body along it. A null means "not given", as it does to Go's decoder, and is dropped; below
an `Inert` field without a type anything is kept as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec
from msgspec import inspect

from netlab.api.resources import Json
from netlab.api.structs import fields_of, type_of
from netlab.controlplane.status import AnyResource, cannot_be_handled


@dataclass(eq=False)
class Shape:
    """The known fields of one struct: wire names to the shape below, None where a leaf is."""

    fields: dict[str, Shape | None]


_shapes: dict[type, Shape] = {}  # by struct: a pod's are part of every workload


def shape_of(struct: inspect.StructType) -> Shape:
    """Return the tree of field names below an API type."""
    if struct.cls not in _shapes:
        _shapes[struct.cls] = Shape({name: _below(field.type) for name, field in fields_of(struct).items()})
    return _shapes[struct.cls]


def _below(info: inspect.Type) -> Shape | None:
    """Return the shape of what a field holds: a struct, directly, optionally or in a list."""
    match info:
        case inspect.StructType():
            return shape_of(info)
        case inspect.VarTupleType():
            return _below(info.item_type)
        case inspect.Metadata():
            return _below(info.type)
        case inspect.UnionType():
            return next((shape for shape in map(_below, info.types) if shape), None)
        case _:
            return None


def prune(resource: AnyResource, body: Json) -> tuple[str, ...]:
    """Drop unknown fields and nulls from a body, in place; returns the paths of the unknown ones, in order."""
    unknown: list[str] = []
    _prune(shape_of(cast("inspect.StructType", type_of(resource.type))), body, "", unknown)
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
