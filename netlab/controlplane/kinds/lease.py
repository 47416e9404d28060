"""Leases."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import LEASES
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(LEASES, Strategy(creates_on_update=True))
