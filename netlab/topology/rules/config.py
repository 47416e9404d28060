"""ConfigMaps and Secrets: values that can be turned into environment variables."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from netlab.api.config import ConfigMap, Secret
from netlab.api.lab import Networking
from netlab.topology.problem import Problem, invalid

LARGEST = 1024 * 1024
_SAYS = "must be base64; write plain text into {}"


def config_map_problems(config: ConfigMap, _networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with a ConfigMap."""
    for key in config.binary_data:
        if key in config.data:
            yield invalid(("data", key), key, "duplicate of key present in binaryData")
    yield from _base64_problems("binaryData", config.binary_data, _SAYS.format("data"))
    yield from _size_problems(config.data, config.binary_data)


def secret_problems(secret: Secret, _networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with a Secret. Its values are never shown."""
    yield from _base64_problems("data", secret.data, _SAYS.format("stringData"))
    yield from _size_problems(secret.data, secret.string_data)


def _base64_problems(field: str, values: Mapping[str, str], says: str) -> Iterator[Problem]:
    for key, text in values.items():
        try:
            base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            yield invalid((field, key), "<hidden>", says)


def _size_problems(*maps: Mapping[str, str]) -> Iterator[Problem]:
    size = sum(len(text.encode("utf-8", "replace")) for values in maps for text in values.values())
    if size > LARGEST:
        yield invalid(("data",), size, f"must have at most {LARGEST} bytes")
