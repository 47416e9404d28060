"""Fields that a JSON text names twice in one object.

A decoder keeps the last value of such a field and drops the others. Kubernetes reports them with
`fieldValidation`: Strict refuses the body, Warn answers with a Warning header. A path is written
as Kubernetes writes it: `spec.template.spec.containers[0].image`.

The cost is linear in the text: a path is written only for a field that is reported, at most MOST
of them, as Kubernetes' decoder reports. The texts have been decoded before, so they are JSON; only
a value that the first decoder dropped can still be nested more deeply than this one reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from netlab.controlplane.bounds import TOO_DEEP
from netlab.controlplane.status import bad_request
from netlab.topology.problem import printable

MOST: Final = 100


@dataclass(frozen=True)
class _Place:
    """Where a value is: the name or index of its field, below the place of its parent."""

    step: str | int
    parent: _Place | None

    def path(self) -> str:
        """Return the path from the top of the text."""
        steps: list[str] = []
        place: _Place | None = self
        while place is not None:
            if isinstance(place.step, int):
                steps.append(f"[{place.step}]")
            else:
                steps.append(f".{printable(place.step)}")
            place = place.parent
        return "".join(reversed(steps)).removeprefix(".")


def duplicate_fields(content: bytes) -> tuple[str, ...]:
    """Return the paths of the duplicate fields of a JSON text, outer ones first."""
    found: list[_Place] = []
    todo: list[tuple[_Place | None, Any]] = [(None, _decode(content))]
    while todo and len(found) < MOST:
        place, value = todo.pop()
        items = enumerate(value) if isinstance(value, list) else value
        count: dict[str | int, int] = {}
        below: list[tuple[_Place | None, Any]] = []
        for step, child in items:
            count[step] = count.get(step, 0) + 1
            if count[step] == 2:
                found.append(_Place(step, place))
            if isinstance(child, tuple | list):
                below.append((_Place(step, place), child))
        todo += reversed(below)
    return tuple(place.path() for place in found[:MOST])


def _decode(content: bytes) -> tuple[Any, ...] | list[Any]:
    """Decode a JSON text: an object becomes a tuple of its pairs, a number keeps its text."""
    try:
        value = json.loads(content.decode(), object_pairs_hook=tuple, parse_int=str, parse_float=str)
    except RecursionError as error:
        raise bad_request(TOO_DEEP) from error
    return value if isinstance(value, tuple | list) else ()
