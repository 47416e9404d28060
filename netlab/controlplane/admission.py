"""The first steps of a write: whether the body is an object of that kind and may be created here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from netlab.api.resources import NAMESPACES, Json
from netlab.controlplane.bounds import own_copy
from netlab.controlplane.schema import check_types, prune
from netlab.controlplane.status import AnyResource, bad_request, cannot_be_handled, conflict, forbidden, not_found
from netlab.controlplane.store import Store

Mode = Literal["Strict", "Warn", "Ignore"]


@dataclass(frozen=True)
class Ingest:
    """A body of one's own: copied, of the right kind and types, without unknown fields and nulls."""

    body: Json
    warnings: tuple[str, ...]


def ingest(
    resource: AnyResource, body: Any, namespace: str, mode: Mode, duplicates: tuple[str, ...] = ()
) -> Ingest:  # fmt: skip
    """Copy a client's body and make it one of this kind, or refuse it in Kubernetes' words.

    `duplicates` are the fields that the request names twice; like an unknown field, each is an error or a warning.
    """
    if not isinstance(body, dict):
        raise bad_request("the body of the request must be a JSON object")
    own = _of_kind(resource, own_copy(body))
    unknown = prune(resource, own)
    within = tuple(f'duplicate field "{path}{end}' for path in unknown for end in '".[')
    known = [words for words in duplicates if not words.startswith(within)]  # an unknown field has one fault
    faults = (*known, *(f'unknown field "{path}"' for path in unknown))
    if faults and mode == "Strict":
        raise cannot_be_handled(resource, f"strict decoding error: {', '.join(faults)}")
    check_types(resource, own)
    meta = own["metadata"]
    if resource.namespaced:
        if meta.setdefault("namespace", namespace) != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    else:
        meta.pop("namespace", None)
    return Ingest(own, faults if mode == "Warn" else ())


def _of_kind(resource: AnyResource, body: Json) -> Json:
    """Return the body with its kind filled in, in the order in which people read objects."""
    version, kind = body.get("apiVersion") or resource.api_version, body.get("kind") or resource.kind
    if (version, kind) != (resource.api_version, resource.kind):
        raise cannot_be_handled(resource, f"the body has apiVersion {version}, kind {kind}; this path accepts {resource.kind}")
    rest = {name: value for name, value in body.items() if name not in {"apiVersion", "kind", "metadata"}}
    return {"apiVersion": version, "kind": kind, "metadata": body.get("metadata") or {}, **rest}


def existing_namespace(store: Store, resource: AnyResource, namespace: str) -> None:
    """Refuse to create in a namespace that is missing or terminating."""
    if not resource.namespaced:
        return
    stored = store.get(NAMESPACES, "", namespace)
    if stored is None:
        raise not_found(NAMESPACES, namespace)
    if "deletionTimestamp" in stored.body["metadata"]:
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise forbidden(resource, "", why, causes=(cause,))


def protected_namespace(resource: AnyResource, name: str, protected: tuple[str, ...]) -> None:
    """Refuse to delete the namespaces that every cluster has."""
    if resource is NAMESPACES and name in protected:
        raise forbidden(resource, name, "this namespace may not be deleted")


def same_version(resource: AnyResource, name: str, new: Json, old: Json) -> None:
    """Refuse a write that was made from another version, or for another object of that name."""
    meta, before = new["metadata"], old["metadata"]
    preconditions(resource, name, old, {"UID": meta.get("uid", "")})
    if meta.get("resourceVersion") and meta["resourceVersion"] != before["resourceVersion"]:
        raise conflict(resource, name)


def preconditions(resource: AnyResource, name: str, body: Json, wanted: Mapping[str, str]) -> None:
    """Refuse to continue unless the object has the UID and the ResourceVersion that are asked for."""
    meta = body["metadata"]
    for word, found in (("UID", meta["uid"]), ("ResourceVersion", meta["resourceVersion"])):
        if (asked := wanted.get(word)) and asked != found:
            why = f"Precondition failed: {word} in precondition: {asked}, {word} in object meta: {found}"
            raise conflict(resource, name, why)
