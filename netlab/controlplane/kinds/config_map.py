"""ConfigMaps."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import CONFIG_MAPS
from netlab.controlplane.kinds.kind import Kind

KIND: Final = Kind(CONFIG_MAPS)
