"""The types of the API as msgspec shows them: what validation and pruning walk along.

All kinds are translated together, the first time that one is asked for. They share most of their structs (a pod's are in every
workload), and each call of `msgspec.inspect` starts from scratch: kind by kind it would take ten times as long.
"""

from __future__ import annotations

from functools import cache

from msgspec import inspect

from netlab.api.resources import RESOURCES

_fields: dict[type, dict[str, inspect.Field]] = {}


def type_of(struct: type) -> inspect.Type:
    """Return the type of an object, or of whatever else msgspec can decode."""
    return _kinds().get(struct) or _other(struct)


def fields_of(info: inspect.StructType) -> dict[str, inspect.Field]:
    """Return the fields of a struct by their names in JSON."""
    if info.cls not in _fields:
        _fields[info.cls] = {field.encode_name: field for field in info.fields}
    return _fields[info.cls]


@cache
def _kinds() -> dict[type, inspect.Type]:
    kinds = [resource.type for resource in RESOURCES]
    return dict(zip(kinds, inspect.multi_type_info(kinds), strict=True))


@cache
def _other(struct: type) -> inspect.Type:
    return inspect.type_info(struct)
