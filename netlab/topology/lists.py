"""A document of kind `List`, as `kubectl get -o yaml` prints several objects: its items count as documents.

The list itself is validated like any object: a wrong apiVersion or an unknown key would otherwise
be ignored silently (principle 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from netlab.api.meta import Inert, Struct
from netlab.topology.decoding import decode, described
from netlab.topology.problem import NOT_SUPPORTED, TYPE_INVALID, Problem, Steps, quoted, required

KIND: Final = "List"
API_VERSION: Final = "v1"


class ListMeta(Struct, frozen=True, kw_only=True):
    """What an API server writes about a list; kubectl writes an empty `resourceVersion`."""

    resource_version: Inert = None
    self_link: Inert = None
    continue_: Inert = None
    remaining_item_count: Inert = None


class ObjectList(Struct, frozen=True, kw_only=True):
    """A list, its items aside."""

    api_version: Inert = None
    kind: Inert = None
    metadata: ListMeta = ListMeta()
    items: Inert = None


def is_list(value: Any) -> bool:
    """Return whether a document is of kind List."""
    return isinstance(value, dict) and value.get("kind") == KIND


def items(value: dict[str, Any]) -> Iterator[tuple[Steps, Any]]:
    """Yield the items of a list with their places."""
    found = value.get("items")
    for index, item in enumerate(found if isinstance(found, list) else ()):
        yield ("items", index), item


def problems(value: dict[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with a list, its items aside."""
    version = value.get("apiVersion")
    if version is None:
        yield required(("apiVersion",), f'the apiVersion of {KIND} is "{API_VERSION}"')
    elif version != API_VERSION:
        yield Problem(
            ("apiVersion",), f'Unsupported value: {quoted(version)}: the apiVersion of {KIND} is "{API_VERSION}"', NOT_SUPPORTED
        )
    found = value.get("items")
    if found is not None and not isinstance(found, list):
        yield Problem(("items",), f"expected a list, got {described(found)}", TYPE_INVALID)
    decoded = decode({key: item for key, item in value.items() if key != "items"}, ObjectList)
    yield from (*decoded.unknown, *decoded.types)
