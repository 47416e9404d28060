"""ReplicaSets."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import REPLICA_SETS
from netlab.controlplane.kinds.kind import Kind

KIND: Final = Kind(REPLICA_SETS, selectable=("status.replicas",), categories=("all",))
