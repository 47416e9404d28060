"""Endpoints."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import ENDPOINTS, Json
from netlab.controlplane.kinds.filling import maps_in
from netlab.controlplane.kinds.kind import Kind, Strategy


def _defaults(body: Json) -> None:
    for subset in maps_in(body, "subsets"):
        for port in maps_in(subset, "ports"):
            port.setdefault("protocol", "TCP")


KIND: Final = Kind(ENDPOINTS, Strategy(creates_on_update=True), defaults=_defaults)
