"""What the defaults of several kinds share. A value of an unexpected type stays as it is."""

from __future__ import annotations

from typing import Any

from netlab.api.resources import Json


def fill(body: Json, defaults: Json) -> None:
    """Add the fields that are absent."""
    for name, value in defaults.items():
        body.setdefault(name, value)


def maps_in(body: Any, name: str) -> list[Json]:
    """Return the maps in a list that is a field of the body."""
    values = body.get(name) if isinstance(body, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []
