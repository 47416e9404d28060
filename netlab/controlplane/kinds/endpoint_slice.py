"""EndpointSlices."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import ENDPOINT_SLICES, Json
from netlab.controlplane.kinds.filling import maps_in
from netlab.controlplane.kinds.kind import Kind, Strategy


def _defaults(body: Json) -> None:
    for port in maps_in(body, "ports"):
        port.setdefault("protocol", "TCP")
        port.setdefault("name", "")


KIND: Final = Kind(
    ENDPOINT_SLICES,
    Strategy(has_generation=True, immutable=("addressType",)),
    defaults=_defaults,
)
