"""A fault in an object: where it is, what is wrong in Kubernetes' own words, and Kubernetes' reason for it.

The same value serves both readers: `load` puts `file:line:column` before it, and the API server makes it a cause of a
`Status` (422 Invalid). The wording is that of k8s.io/apimachinery's field errors, which users search the web for:
`Invalid value: 70000: must be between 1 and 65535, inclusive`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

Steps = tuple[str | int, ...]  # the way from an object's root to a field: ("spec", "ports", 0, "port")

INVALID = "FieldValueInvalid"
REQUIRED = "FieldValueRequired"
NOT_SUPPORTED = "FieldValueNotSupported"
DUPLICATE = "FieldValueDuplicate"
FORBIDDEN = "FieldValueForbidden"
NOT_FOUND = "FieldValueNotFound"
TYPE_INVALID = "FieldValueTypeInvalid"
TOO_LONG = "FieldValueTooLong"
UNKNOWN = "FieldUnknown"  # ours: Kubernetes reports unknown fields apart from the causes of a Status

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LONGEST_QUOTE = 60


def path_text(steps: Steps) -> str:
    """Return the path as Kubernetes writes it: `spec.ports[0].port`, `metadata.labels[app.kubernetes.io/name]`."""
    text = ""
    for step in steps:
        if isinstance(step, int) or not _PLAIN_KEY.fullmatch(step):
            text += f"[{step if isinstance(step, int) else printable(step)}]"
        else:
            text += f".{step}" if text else step
    return text


def printable(text: str) -> str:
    """Return text that stays on one line of a terminal, shortened when it is long."""
    short = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."
    return short if short.isprintable() else json.dumps(short)[1:-1]


def quoted(value: Any) -> str:
    """Return a value of a file as it can be shown in a message: text in quotes, the rest as JSON, never long."""
    if isinstance(value, str):
        return f'"{printable(value)}"'
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_LONGEST_QUOTE:
        return "a number of more than 60 digits"
    return printable(json.dumps(value, default=str))


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return the known word that was probably meant, empty when none is near."""
    candidates = tuple(known)
    by_lower = {c.lower(): c for c in candidates}
    if exact := by_lower.get(word.lower()):
        return exact
    near = get_close_matches(word.lower()[:_LONGEST_QUOTE], by_lower, n=1, cutoff=0.7)
    return by_lower[near[0]] if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)`, or nothing when no known word is near."""
    near = suggestion(word, known)
    return f' (did you mean "{near}"?)' if near else ""


@dataclass(frozen=True)
class Problem:
    """One fault. `at_key`: the key itself is wrong, not its value. `meant`: the key that was probably meant."""

    steps: Steps
    message: str
    reason: str = INVALID
    at_key: bool = False
    meant: str = ""

    @property
    def path(self) -> str:
        """The field, as a cause of a Status names it."""
        return path_text(self.steps)


def invalid(steps: Steps, value: Any, detail: str) -> Problem:
    return Problem(steps, f"Invalid value: {quoted(value)}: {detail}", INVALID)


def required(steps: Steps, detail: str = "") -> Problem:
    return Problem(steps, f"Required value: {detail}" if detail else "Required value", REQUIRED)


def forbidden(steps: Steps, detail: str) -> Problem:
    return Problem(steps, f"Forbidden: {detail}", FORBIDDEN)


def duplicate(steps: Steps, value: Any, detail: str = "") -> Problem:
    return Problem(steps, f"Duplicate value: {quoted(value)}" + (f": {detail}" if detail else ""), DUPLICATE)


def too_long(steps: Steps, limit: int) -> Problem:
    return Problem(steps, f"Too long: may not be more than {limit} bytes", TOO_LONG)


def not_found(steps: Steps, value: Any, detail: str) -> Problem:
    return Problem(steps, f"Not found: {quoted(value)}: {detail}", NOT_FOUND)


def unsupported(steps: Steps, value: str, supported: Iterable[str], detail: str = "") -> Problem:
    values = tuple(supported)
    listed = "supported values: " + ", ".join(f'"{v}"' for v in values)
    words = f"{detail}; {listed}" if detail else listed + did_you_mean(value, values)
    return Problem(steps, f"Unsupported value: {quoted(value)}: {words}", NOT_SUPPORTED)
