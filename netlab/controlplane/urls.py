"""How a client writes a request: paths and queries, shared by the asynchronous and the blocking client."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from netlab.api.resources import Json, Resource
from netlab.api.wellknown import DEFAULT_NAMESPACE

STRICT = {"fieldValidation": "Strict"}  # a typo in netlab's own writes is an error


def with_query(path: str, parameters: dict[str, str]) -> str:
    """Return a path with those parameters that are set."""
    said = {name: value for name, value in parameters.items() if value}
    return f"{path}?{urlencode(said, safe=',=()/', quote_via=quote)}" if said else path


def object_namespace(resource: Resource[Any], body: Json, namespace: str = "") -> str:
    """Return where an object belongs: as asked, as in its metadata, or `default`."""
    if not resource.namespaced:
        return ""
    return namespace or str(_metadata(body).get("namespace") or DEFAULT_NAMESPACE)


def object_name(body: Json) -> str:
    """Return the name of an object, empty when it has none."""
    return str(_metadata(body).get("name", ""))


def _metadata(body: Json) -> Json:
    meta = body.get("metadata")
    return meta if isinstance(meta, dict) else {}


def object_path(resource: Resource[Any], name: str, namespace: str = "", subresource: str = "") -> str:
    """Return the path of one object."""
    return resource.path(object_namespace(resource, {}, namespace), quote(name, safe=""), subresource)


def body_path(resource: Resource[Any], body: Json, subresource: str = "") -> str:
    """Return the path of the object that a body is."""
    return resource.path(object_namespace(resource, body), quote(object_name(body), safe=""), subresource)


def list_path(resource: Resource[Any], namespace: str, labels: str, fields: str) -> str:
    """Return the path of a list."""
    return with_query(resource.path(namespace), {"labelSelector": labels, "fieldSelector": fields})


def watch_path(resource: Resource[Any], namespace: str, version: str, labels: str, fields: str) -> str:
    """Return the path of a watch with bookmarks."""
    parameters = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
    return with_query(resource.path(namespace), {**parameters, "labelSelector": labels, "fieldSelector": fields})


def delete_path(resource: Resource[Any], name: str, namespace: str, grace_period_seconds: int | None) -> str:
    """Return the path of a delete."""
    grace = "" if grace_period_seconds is None else str(grace_period_seconds)
    return with_query(object_path(resource, name, namespace), {"gracePeriodSeconds": grace})
