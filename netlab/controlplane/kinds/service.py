"""Services."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import SERVICES
from netlab.controlplane.kinds.kind import Kind

KIND: Final = Kind(SERVICES, selectable=("spec.clusterIP", "spec.type"), categories=("all",), returns_deleted=True)
