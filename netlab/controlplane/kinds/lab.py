"""The Lab: the description of the lab itself."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import LABS
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(LABS, Strategy(has_generation=True))
