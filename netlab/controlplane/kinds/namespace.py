"""Namespaces."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import NAMESPACES, Json
from netlab.controlplane.kinds.kind import Kind, Strategy


def _prepare_update(new: Json, old: Json) -> None:
    new["spec"] = old.get("spec", {})


KIND: Final = Kind(
    NAMESPACES,
    Strategy(prepare_update=_prepare_update),
    selectable=("status.phase",),
    returns_deleted=True,
)
