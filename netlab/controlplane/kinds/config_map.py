"""ConfigMaps."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import CONFIG_MAPS, Json
from netlab.controlplane.kinds.kind import Kind, Strategy
from netlab.controlplane.status import FieldProblem


def immutable_content(new: Json, old: Json) -> list[FieldProblem]:
    """Return what changes of the content of an object that is marked as immutable."""
    if not old.get("immutable"):
        return []
    changed = [name for name in ("data", "binaryData") if new.get(name) != old.get(name)]
    if not new.get("immutable"):
        changed.insert(0, "immutable")
    text = "Forbidden: field is immutable when `immutable` is set"
    return [FieldProblem(name, text, "FieldValueForbidden") for name in changed]


KIND: Final = Kind(CONFIG_MAPS, Strategy(change_problems=immutable_content))
