"""core/v1: ConfigMap and Secret."""

from __future__ import annotations

from netlab.api.meta import Labels, Object


class ConfigMap(Object, frozen=True, kw_only=True):
    data: Labels = {}
    binary_data: Labels = {}
    immutable: bool = False


class Secret(Object, frozen=True, kw_only=True):
    data: Labels = {}
    string_data: Labels = {}
    type: str = "Opaque"
    immutable: bool = False
