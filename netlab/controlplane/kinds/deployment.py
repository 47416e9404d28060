"""Deployments."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import DEPLOYMENTS
from netlab.controlplane.kinds.kind import Kind

KIND: Final = Kind(DEPLOYMENTS, categories=("all",))
