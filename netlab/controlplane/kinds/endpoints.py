"""Endpoints."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import ENDPOINTS
from netlab.controlplane.kinds.kind import Kind

KIND: Final = Kind(ENDPOINTS)
