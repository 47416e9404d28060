"""The meaning of a request: REST paths, query parameters and bodies, read as Kubernetes reads them. No sockets here.

/api/v1/<plural>                                 all namespaces, or a cluster-scoped kind
/api/v1/namespaces/<namespace>/<plural>[/<name>[/<subresource>]]
/apis/<group>/<version>/...                      the same
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from netlab.api.resources import BY_PATH, Json
from netlab.controlplane.admission import Mode
from netlab.controlplane.bounds import LONGEST_WATCH, MOST_SECONDS, read_json, whole_number
from netlab.controlplane.duplicates import duplicate_fields
from netlab.controlplane.kinds.table import kind_of
from netlab.controlplane.lists import ListOptions
from netlab.controlplane.options import DeleteOptions, Target, WriteOptions
from netlab.controlplane.patches import JSON_PATCH
from netlab.controlplane.registry import BACKGROUND, FOREGROUND, ORPHAN
from netlab.controlplane.status import bad_request, no_such_path, unsupported_media_type
from netlab.controlplane.watch import WatchOptions
from netlab.topology.document import Source, documents
from netlab.topology.problem import printable, quoted

Query = Mapping[str, str]
JSON_TYPE: Final = "application/json"
YAML_TYPE: Final = "application/yaml"
PROPAGATION: Final = (BACKGROUND, FOREGROUND, ORPHAN)


@dataclass(frozen=True)
class Body:
    """The body of a request as it was sent."""

    content: bytes
    media_type: str = JSON_TYPE


def json_body(body: Body) -> Body:
    """Return a body that is written in YAML as the same in JSON, others as they are. 400 for what is not one document of YAML."""
    if body.media_type != YAML_TYPE:
        return body
    try:
        text = body.content.decode()
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error
    found, misread = documents(Source("the body", text))
    if misread:
        line, column = misread[0].position
        raise bad_request(f"the body, line {line}, column {column}: {misread[0].message}")
    if len(found) != 1:
        raise bad_request(f"the body must be one YAML document, got {len(found)}")
    return Body(json.dumps(found[0].value, separators=(",", ":")).encode())


def parse_path(path: str) -> Target | None:
    """Return what a resource path names, None for a path that is not a resource path; 404 for an unknown kind."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and (group, version, rest[2]) in BY_PATH:
        namespace, rest = rest[1], rest[2:]
    resource = BY_PATH.get((group, version, rest[0]))
    if resource is None or len(rest) > 3 or "" in rest or bool(namespace) > resource.namespaced:
        raise no_such_path()
    name, subresource = rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else ""
    known = ("", *(below.name for below in kind_of(resource).subresources))
    if subresource not in known or (name and resource.namespaced and not namespace):
        raise no_such_path()
    return Target(resource, namespace, name, subresource)


def flag(query: Query, name: str) -> bool:
    """Return a boolean parameter; Go's clients write true, false, 1 and 0."""
    text = query.get(name, "")
    if text.lower() not in {"", "0", "1", "true", "false", "t", "f"}:
        raise bad_request(f'{name}: Invalid value: "{text}": it must be true or false')
    return text.lower() in {"1", "true", "t"}


def number(query: Query, name: str) -> int | None:
    """Return a numeric parameter, None when it is absent."""
    text = query.get(name, "")
    found = whole_number(text) if text else None
    if text and found is None:
        raise bad_request(f'{name}: Invalid value: "{printable(text)}": it must be a whole number of at most 64 bits')
    return found


def watch_seconds(query: Query) -> float | None:
    """Return after how many seconds a watch ends, None when the client sets no end."""
    seconds = number(query, "timeoutSeconds") or 0
    return min(seconds, LONGEST_WATCH) if seconds > 0 else None


def dry_run(values: object) -> bool:
    """Return whether a write is a dry run; the only value is All."""
    if values in (None, "", []):
        return False
    if values in ("All", ["All"]):
        return True
    raise bad_request(f'dryRun: Unsupported value: {quoted(values)}: supported values: "All"')


def write_options(query: Query, body: Body) -> WriteOptions:
    """Read the parameters of create, update and patch. Without fieldValidation a typo is a warning, as in Kubernetes."""
    text = query.get("fieldValidation") or "Warn"
    modes: dict[str, Mode] = {mode: mode for mode in get_args(Mode)}
    if text not in modes:
        raise bad_request(f'fieldValidation: Unsupported value: "{text}": supported values: "Ignore", "Warn", "Strict"')
    duplicates = () if text == "Ignore" else _duplicates(body)
    return WriteOptions(dry_run(query.get("dryRun")), modes[text], duplicates)


def _duplicates(body: Body) -> tuple[str, ...]:
    """Return the words for the fields that a body names twice; of a JSON patch, only fields of its operations count."""
    paths = duplicate_fields(body.content)
    if body.media_type != JSON_PATCH:
        return tuple(f'duplicate field "{path}"' for path in paths)
    own = [path for path in paths if path.count(".") == 1 and path.count("[") == 1]
    return tuple(f'json patch duplicate field "{path}"' for path in own)


def list_options(query: Query) -> ListOptions:
    """Read the parameters of list and deletecollection."""
    limit = number(query, "limit") or 0
    return ListOptions(query.get("labelSelector", ""), query.get("fieldSelector", ""), max(limit, 0), query.get("continue", ""))


def watch_options(query: Query) -> WatchOptions:
    """Read the parameters of watch."""
    initial = flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None
    return WatchOptions(
        query.get("resourceVersion", ""), bookmarks=flag(query, "allowWatchBookmarks"), send_initial_events=initial
    )


def delete_options(query: Query, body: Any) -> DeleteOptions:
    """Read a delete: from the DeleteOptions in its body, else from its parameters."""
    given: Json = _map(body, "the body of a delete")
    preconditions = _map(given.get("preconditions"), "preconditions")
    orphan = given.get("orphanDependents") or flag(query, "orphanDependents")
    policy = given.get("propagationPolicy") or query.get("propagationPolicy") or (ORPHAN if orphan else BACKGROUND)
    grace = given.get("gracePeriodSeconds", number(query, "gracePeriodSeconds"))
    if policy not in PROPAGATION:
        listed = ", ".join(f'"{word}"' for word in PROPAGATION)
        raise bad_request(f"propagationPolicy: Unsupported value: {quoted(policy)}: supported values: {listed}")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or not 0 <= grace <= MOST_SECONDS):
        raise bad_request(f"gracePeriodSeconds: Invalid value: it must be a whole number from 0 to {MOST_SECONDS}")
    return DeleteOptions(
        grace=grace,
        propagation=policy,
        dry_run=dry_run(given.get("dryRun") or query.get("dryRun")),
        uid=_text(preconditions.get("uid"), "preconditions.uid"),
        resource_version=_text(preconditions.get("resourceVersion"), "preconditions.resourceVersion"),
    )


def _map(value: Any, words: str) -> Json:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request(f"{words}: Invalid value: it must be a map of fields")
    return value


def _text(value: Any, words: str) -> str:
    if value is not None and not isinstance(value, str):
        raise bad_request(f"{words}: Invalid value: it must be text")
    return value or ""


def read_body(body: Body, accepted: tuple[str, ...] = (JSON_TYPE,)) -> Any:
    """Decode a request's body; 415 for a format that is not read here (protobuf)."""
    if body.media_type not in accepted:
        raise unsupported_media_type(", ".join((*accepted, YAML_TYPE) if JSON_TYPE in accepted else accepted))
    return read_json(body.content)
