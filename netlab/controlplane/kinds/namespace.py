"""Namespaces."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import NAMESPACES
from netlab.controlplane.kinds.kind import Kind

KIND: Final = Kind(NAMESPACES, selectable=("status.phase",), returns_deleted=True)
