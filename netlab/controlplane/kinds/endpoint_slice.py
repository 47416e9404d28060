"""EndpointSlices."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import ENDPOINT_SLICES
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(ENDPOINT_SLICES, Strategy(has_generation=True, immutable=("addressType",)))
