"""Secrets."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import SECRETS
from netlab.controlplane.kinds.config_map import immutable_content
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(
    SECRETS,
    Strategy(immutable=("type",), change_problems=immutable_content),
    selectable=("type",),
)
