"""Namespaces."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import NAMESPACES, Json
from netlab.controlplane.kinds.kind import Kind, Strategy


def _prepare_update(new: Json, old: Json) -> None:
    new["spec"] = old.get("spec", {})


def _defaults(body: Json) -> None:
    meta = body["metadata"]
    if "name" in meta:
        meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
    body.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    body.setdefault("status", {}).setdefault("phase", "Active")


KIND: Final = Kind(
    NAMESPACES,
    Strategy(prepare_update=_prepare_update),
    defaults=_defaults,
    selectable=("status.phase",),
    returns_deleted=True,
)
