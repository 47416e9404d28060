"""Secrets."""

from __future__ import annotations

import base64
from typing import Final

from netlab.api.resources import SECRETS, Json
from netlab.controlplane.kinds.config_map import immutable_content
from netlab.controlplane.kinds.kind import Kind, Strategy


def _defaults(body: Json) -> None:
    body["type"] = body.get("type") or "Opaque"
    plain = body.pop("stringData", None)
    if isinstance(plain, dict) and plain:
        encoded = {name: _base64(str(text)) for name, text in plain.items()}
        body["data"] = {**body.get("data", {}), **encoded}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


KIND: Final = Kind(
    SECRETS,
    Strategy(immutable=("type",), change_problems=immutable_content),
    defaults=_defaults,
    selectable=("type",),
)
