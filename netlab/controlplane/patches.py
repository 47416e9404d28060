"""Patches: two of Kubernetes' formats, as pure functions on a copy of the object.

    application/merge-patch+json   RFC 7386: null deletes, objects merge, all else replaces
    application/json-patch+json    RFC 6902: a list of operations, all or nothing

Strategic merge patch needs the merge keys of Kubernetes' types; a client that sends one is told what to send
instead (415), and the format gets its row in FORMATS when those keys are here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

from netlab.api.resources import Json
from netlab.controlplane.status import bad_request, unsupported_media_type
from netlab.errors import ApiError

MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"


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
def _steps(pointer: Any) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise bad_request(f"a JSON patch path begins with '/': {pointer!r}")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _index(step: str, length: int) -> int:
    if step.isdecimal() and int(step) <= length:
        return int(step)
    raise _no_such_path(step)


def _no_such_path(step: str) -> ApiError:
    message = f'the server rejected our request due to an error in our request: the path has no "{step}"'
    return ApiError(422, "Invalid", message)


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


def _add(document: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    parent, last = _resolve(document, steps[:-1]), steps[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise _no_such_path(last)
    return document


def _remove(document: Any, steps: list[str]) -> Any:
    if not steps:
        raise bad_request("a JSON patch cannot remove the whole object")
    parent, last = _resolve(document, steps[:-1]), steps[-1]
    _child(parent, last)
    del parent[int(last) if isinstance(parent, list) else last]
    return document


def _operation(document: Any, operation: Json) -> Any:
    name, steps = operation.get("op"), _steps(operation.get("path"))
    if name in {"add", "replace", "test"} and "value" not in operation:
        raise bad_request(f"JSON patch operation {name!r} needs a value")
    if name == "add":
        return _add(document, steps, operation["value"])
    if name == "remove":
        return _remove(document, steps)
    if name == "replace":
        _resolve(document, steps)
        return _add(_remove(document, steps), steps, operation["value"]) if steps else operation["value"]
    if name in {"move", "copy"}:
        source = _steps(operation.get("from"))
        value = copy.deepcopy(_resolve(document, source))
        return _add(_remove(document, source) if name == "move" else document, steps, value)
    if name == "test":
        if _resolve(document, steps) != operation["value"]:
            raise ApiError(422, "Invalid", f"the server rejected our request: JSON patch test failed at {operation['path']}")
        return document
    raise bad_request(f"JSON patch has no operation {name!r}")


def _json_patch(target: Json, patch: Any) -> Json:
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("a JSON patch must be a list of operations")
    document: Any = target
    for operation in patch:
        document = _operation(document, operation)
    if not isinstance(document, dict):
        raise bad_request("a JSON patch must leave an object")
    return document


FORMATS: dict[str, Callable[[Json, Any], Json]] = {MERGE_PATCH: _merge_patch, JSON_PATCH: _json_patch}


def apply_patch(media_type: str, target: Json, patch: object) -> Json:
    """Return the object after a patch; `target` belongs to the caller's request and may be edited."""
    if media_type not in FORMATS:
        raise unsupported_media_type(", ".join(FORMATS))
    return FORMATS[media_type](target, patch)
