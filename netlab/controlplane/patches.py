"""Patches: two of Kubernetes' formats, as pure functions on a copy of the object.

    application/merge-patch+json   RFC 7386: null deletes, objects merge, all else replaces
    application/json-patch+json    RFC 6902: a list of operations, all or nothing

Strategic merge patch needs the merge keys of Kubernetes' types; a client that sends one is answered with what to send
instead (415), and the format gets its row in FORMATS when those keys are here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from netlab.api.resources import Json
from netlab.controlplane.bounds import MOST_COPIED, MOST_OPERATIONS, MOST_SHIFTED, whole_number
from netlab.controlplane.status import bad_request, unsupported_media_type
from netlab.errors import ApiError
from netlab.topology.problem import quoted

MERGE_PATCH: Final = "application/merge-patch+json"
ARRAY_INDEX: Final = re.compile("0|[1-9][0-9]*", re.ASCII)
JSON_PATCH: Final = "application/json-patch+json"
decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


def merge(target: Any, patch: Any) -> Any:
    """Apply an RFC 7386 merge patch; the result may share parts with both."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def _merge_patch(target: Json, patch: Any) -> Json:
    if not isinstance(patch, dict):
        raise bad_request("a merge patch must be a JSON object")
    merged: Json = merge(target, patch)
    return merged


# ---- RFC 6902
@dataclass
class _Budget:
    """What the operations of one patch have cost: bytes added by copies, list elements moved.

    Without it, twenty operations that copy a list into itself make a million elements of one.
    """

    copied: int = 0
    shifted: int = 0

    def copy(self, value: Any) -> Any:
        """Return a copy of a value, as long as all copies together stay below Kubernetes' limit."""
        content = encode(value)
        self.copied += len(content)
        if self.copied > MOST_COPIED:
            raise _unprocessable(
                f"Unable to complete the copy, the accumulated size increase of copy is {self.copied},"
                f" exceeding the limit {MOST_COPIED}"
            )
        return decode(content)

    def shift(self, elements: int) -> None:
        """Count the elements behind the place of an insertion or a removal."""
        self.shifted += elements
        if self.shifted > MOST_SHIFTED:
            raise _unprocessable(f"the operations move more than {MOST_SHIFTED} list elements")


def _unprocessable(why: str) -> ApiError:
    return ApiError(422, "Invalid", f"the server rejected our request due to an error in our request: {why}")


def _steps(pointer: Any) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise bad_request(f"a JSON patch path begins with '/': {quoted(pointer)}")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _index(step: str, length: int) -> int:
    """Return the index that a step of a pointer names: digits without leading zeros (RFC 6901, 4)."""
    number = whole_number(step) if ARRAY_INDEX.fullmatch(step) else None
    if number is not None and number <= length:
        return number
    raise _no_such_path(step)


def _is_equal(one: Any, other: Any) -> bool:
    """Compare two JSON values (RFC 6902, 4.6). Python's `True == 1` holds; a boolean equals no number in JSON."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return bool(one == other)


def _no_such_path(step: str) -> ApiError:
    return _unprocessable(f"the path has no {quoted(step)}")


def _child(parent: Any, step: str) -> Any:
    if isinstance(parent, dict) and step in parent:
        return parent[step]
    if isinstance(parent, list) and (index := _index(step, len(parent))) < len(parent):
        return parent[index]
    raise _no_such_path(step)


def _resolve(document: Any, steps: list[str]) -> Any:
    for step in steps:
        document = _child(document, step)
    return document


def _add(document: Any, steps: list[str], value: Any, budget: _Budget) -> Any:
    if not steps:
        return value
    parent, last = _resolve(document, steps[:-1]), steps[-1]
    if isinstance(parent, list):
        index = len(parent) if last == "-" else _index(last, len(parent))
        budget.shift(len(parent) - index)
        parent.insert(index, value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise _no_such_path(last)
    return document


def _remove(document: Any, steps: list[str], budget: _Budget) -> Any:
    if not steps:
        raise bad_request("a JSON patch cannot remove the whole object")
    parent, last = _resolve(document, steps[:-1]), steps[-1]
    _child(parent, last)
    if isinstance(parent, list):
        budget.shift(len(parent) - int(last))
        del parent[int(last)]
    else:
        del parent[last]
    return document


def _replace(document: Any, steps: list[str], value: Any, _budget: _Budget) -> Any:
    if not steps:
        return value
    parent, last = _resolve(document, steps[:-1]), steps[-1]
    _child(parent, last)
    parent[int(last) if isinstance(parent, list) else last] = value
    return document


def _test(document: Any, steps: list[str], value: Any, _budget: _Budget) -> Any:
    if not _is_equal(_resolve(document, steps), value):
        raise _unprocessable(f"JSON patch test failed at {quoted('/' + '/'.join(steps))}")
    return document


_WITH_VALUE: Final[dict[str, Callable[[Any, list[str], Any, _Budget], Any]]] = {"add": _add, "replace": _replace, "test": _test}


def _operation(document: Any, operation: Json, budget: _Budget) -> Any:
    name, steps = operation.get("op"), _steps(operation.get("path"))
    if not isinstance(name, str):
        raise bad_request(f"`op` of a JSON patch operation must be text, got {quoted(name)}")
    if with_value := _WITH_VALUE.get(name):
        if "value" not in operation:
            raise bad_request(f"JSON patch operation {quoted(name)} needs a value")
        return with_value(document, steps, operation["value"], budget)
    if name == "remove":
        return _remove(document, steps, budget)
    if name in {"move", "copy"}:
        source = _steps(operation.get("from"))
        value = _resolve(document, source)
        if name == "copy":
            return _add(document, steps, budget.copy(value), budget)
        if steps[: len(source)] == source and steps != source:
            raise _unprocessable("a value cannot be moved into itself")
        return _add(_remove(document, source, budget), steps, value, budget)
    raise bad_request(f"unknown JSON patch operation {quoted(name)}")


def _json_patch(target: Json, patch: Any) -> Json:
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("a JSON patch must be a list of operations")
    if len(patch) > MOST_OPERATIONS:
        why = f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(patch)}"
        raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {why}")
    document, budget = target, _Budget()
    try:
        for operation in patch:
            document = _operation(document, operation, budget)
    except RecursionError as error:  # each move can make an object one level deeper
        raise _unprocessable("the operations nest the object too deeply") from error
    if not isinstance(document, dict):
        raise bad_request("the result of a JSON patch must be an object")
    return document


FORMATS: dict[str, Callable[[Json, Any], Json]] = {MERGE_PATCH: _merge_patch, JSON_PATCH: _json_patch}


def apply_patch(media_type: str, target: Json, patch: object) -> Json:
    """Return the object after a patch; `target` belongs to the caller's request and may be edited."""
    if media_type not in FORMATS:
        raise unsupported_media_type(", ".join(FORMATS))
    return FORMATS[media_type](target, patch)
