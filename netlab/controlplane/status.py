"""Status: the refusals of the API server, in Kubernetes' own words.

Rules:
1. Every failure is an `ApiError`; this module makes them, so that a message exists in one place only.
2. `to_status` and `from_status` are inverses: an error crosses the wire and is the same error on the other side.
3. A message names the resource as Kubernetes does: plural and group (`deployments.apps "blue" not found`) where the
   object is the subject, the kind (`Service "blue" is invalid: ...`) where its fields are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from netlab.api.resources import Json, Resource
from netlab.containment import describe
from netlab.errors import ApiError

AnyResource = Resource[Any]


class Problem(Protocol):
    """What `netlab.topology.Problem` and `FieldProblem` have in common."""

    @property
    def path(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class FieldProblem:
    """One field at fault. `message` begins as Kubernetes' does: `Invalid value: ...`, `Required value: ...`."""

    path: str
    message: str
    reason: str = "FieldValueInvalid"


def group_resource(resource: AnyResource) -> str:
    """Return Kubernetes' name of a kind in messages: `services`, `deployments.apps`."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _details(resource: AnyResource, name: str, kind: str = "") -> dict[str, str]:
    known = {"name": name, "group": resource.group, "kind": kind or resource.plural}
    return {key: value for key, value in known.items() if value}


def not_found(resource: AnyResource, name: str) -> ApiError:
    """404: there is no such object."""
    return ApiError(404, "NotFound", f'{group_resource(resource)} "{name}" not found', details=_details(resource, name))


def no_such_path() -> ApiError:
    """404: the path names no kind of this server."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: AnyResource, name: str) -> ApiError:
    """409: an object of that name is there."""
    message = f'{group_resource(resource)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_details(resource, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: AnyResource, name: str, why: str = MODIFIED) -> ApiError:
    """409: another writer was first."""
    message = f'Operation cannot be fulfilled on {group_resource(resource)} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(resource, name))


def invalid(resource: AnyResource, name: str, problems: Sequence[Problem]) -> ApiError:
    """422: the object is well formed and means something impossible."""
    texts = [f"{p.path}: {p.message}" for p in problems]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    causes = tuple({"reason": p.reason, "message": p.message, "field": p.path} for p in problems)
    details = _details(resource, name, resource.kind)
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {text}', causes=causes, details=details)


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def cannot_be_handled(resource: AnyResource, why: str) -> ApiError:
    """400: the body is not an object of this kind."""
    kind = resource.kind
    return bad_request(f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {why}')


def forbidden(resource: AnyResource, name: str, why: str, *, causes: tuple[dict[str, str], ...] = ()) -> ApiError:
    """403: understood, and not allowed."""
    subject = f'{group_resource(resource)} "{name}"' if name else group_resource(resource)
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", causes=causes, details=_details(resource, name))


def unauthorized() -> ApiError:
    """401: no token, or an unknown one."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(asked: int, oldest: int) -> ApiError:
    """410: the history no longer reaches back that far; list again."""
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def method_not_allowed() -> ApiError:
    """405: the kind has no such verb."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def unsupported_media_type(accepted: str) -> ApiError:
    """415: the body is in a format this server cannot read."""
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable() -> ApiError:
    """406: the client wants a format this server cannot write."""
    return ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")


def too_large(limit: int) -> ApiError:
    """413: the body of the request, or the object after it, has more bytes than an object may have."""
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def internal_error(error: Exception) -> ApiError:
    """500: the server met an unexpected exception; its traceback is in the log."""
    return ApiError(500, "InternalError", f"Internal error occurred: {describe(error)}")


def unavailable(message: str, *, remedy: str = "") -> ApiError:
    """503: the API server cannot be reached, or broke off. What a client raises for every transport failure."""
    return ApiError(503, "ServiceUnavailable", message, remedy=remedy)


def to_status(error: ApiError) -> Json:
    """Return the Status object of an error."""
    details: Json = dict(error.details)
    if error.causes:
        details["causes"] = [dict(cause) for cause in error.causes]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "details": details,  # also without content: kubectl debug reads it unchecked
        "code": error.code,
    }


def from_status(code: int, body: object, url: str = "") -> ApiError:
    """Return the error that a response carries; `code` is the HTTP code, for a body that is not a Status."""
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return ApiError(code, "Unknown", f"the server answered {url} with HTTP {code} without a Status")
    details = body.get("details") or {}
    causes = tuple({k: str(v) for k, v in cause.items()} for cause in details.get("causes") or ())
    named = {key: str(value) for key, value in details.items() if key in {"name", "group", "kind", "uid"}}
    reason, message = str(body.get("reason", "Unknown")), str(body.get("message", ""))
    return ApiError(int(body.get("code", code)), reason, message, causes=causes, details=named)


def success(resource: AnyResource, name: str, uid: str) -> Json:
    """Return the Status that answers a delete."""
    details = {**_details(resource, name), "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
