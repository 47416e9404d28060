"""Deployments."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import DEPLOYMENTS
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(
    DEPLOYMENTS,
    Strategy(has_generation=True, immutable=("spec.selector",)),
    categories=("all",),
)
