"""ReplicaSets."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import REPLICA_SETS
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(
    REPLICA_SETS,
    Strategy(has_generation=True, immutable=("spec.selector",)),
    selectable=("status.replicas",),
    categories=("all",),
)
