"""DaemonSets."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import DAEMON_SETS
from netlab.controlplane.kinds.kind import Kind

KIND: Final = Kind(DAEMON_SETS, categories=("all",))
