"""DaemonSets."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import DAEMON_SETS
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(
    DAEMON_SETS,
    Strategy(has_generation=True, immutable=("spec.selector",)),
    categories=("all",),
)
