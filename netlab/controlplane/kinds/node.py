"""Nodes."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import NODES
from netlab.controlplane.kinds.kind import Kind

KIND: Final = Kind(NODES, selectable=("spec.unschedulable",))
