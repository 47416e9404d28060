"""Endpoints."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import ENDPOINTS
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(ENDPOINTS, Strategy(creates_on_update=True))
