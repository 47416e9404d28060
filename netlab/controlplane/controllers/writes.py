"""Writes of controllers, as values: each prints itself, so a plan can be logged and a test can compare it.

`Update` and `UpdateStatus` carry the resourceVersion they were computed from: a Conflict means that the snapshot was
stale, and the next round computes them again. A change of status is always a whole new status, because a merge patch
could not set a number back to zero (zeros are left out on the wire).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netlab.api.events import Event
from netlab.api.meta import Object, ObjectMeta, ObjectReference
from netlab.api.resources import BY_TYPE, EVENTS, Json, Resource
from netlab.api.wellknown import DEFAULT_NAMESPACE
from netlab.controlplane.controllers.naming import safe_digest

LONGEST_NAME = 236  # of an object in the name of an Event, which has 253 characters


@dataclass(frozen=True)
class Create:
    """Make a new object."""

    resource: Resource[Any]
    object: Object

    def __str__(self) -> str:
        return f"create {self.resource.plural}/{self.object.key}"


@dataclass(frozen=True)
class Update:
    """Replace an object's metadata and spec (or data, subsets, endpoints)."""

    resource: Resource[Any]
    object: Object

    def __str__(self) -> str:
        return f"update {self.resource.plural}/{self.object.key}"


@dataclass(frozen=True)
class UpdateStatus:
    """Replace an object's status."""

    resource: Resource[Any]
    object: Object

    def __str__(self) -> str:
        return f"update {self.resource.plural}/{self.object.key}/status"


@dataclass(frozen=True)
class Patch:
    """Merge-patch an object."""

    resource: Resource[Any]
    namespace: str
    name: str
    patch: Json

    def __str__(self) -> str:
        return f"patch {self.resource.plural}/{_key(self.namespace, self.name)} {self.patch}"


@dataclass(frozen=True)
class Delete:
    """Delete an object; a pod with its own grace period unless one is given."""

    resource: Resource[Any]
    namespace: str
    name: str
    grace_period_seconds: int | None = None

    def __str__(self) -> str:
        grace = "" if self.grace_period_seconds is None else f" grace period {self.grace_period_seconds} s"
        return f"delete {self.resource.plural}/{_key(self.namespace, self.name)}{grace}"


Write = Create | Update | UpdateStatus | Patch | Delete


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def create(obj: Object) -> Create:
    """Return the creation of a typed object."""
    return Create(BY_TYPE[type(obj)], obj)


def update(obj: Object) -> Update:
    """Return the replacement of a typed object."""
    return Update(BY_TYPE[type(obj)], obj)


def update_status(obj: Object) -> UpdateStatus:
    """Return the replacement of a typed object's status."""
    return UpdateStatus(BY_TYPE[type(obj)], obj)


def patch(obj: Object, body: Json) -> Patch:
    """Return a merge patch of a typed object."""
    return Patch(BY_TYPE[type(obj)], obj.metadata.namespace, obj.metadata.name, body)


def delete(obj: Object, *, grace_period_seconds: int | None = None) -> Delete:
    """Return the deletion of a typed object."""
    return Delete(BY_TYPE[type(obj)], obj.metadata.namespace, obj.metadata.name, grace_period_seconds)


def reference(obj: Object) -> ObjectReference:
    """Return how other objects point at this one."""
    resource = BY_TYPE[type(obj)]
    meta = obj.metadata
    return ObjectReference(
        api_version=resource.api_version, kind=resource.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid
    )


def event(
    about: Object, now: str, *, reason: str, message: str, component: str, warning: bool = False, occurrence: str = ""
) -> Create:
    """Return the creation of an Event about an object.

    Its name depends on object, reason and message: the same thing is reported once, however often it is found. What can
    happen again (a scale-up) gives its `occurrence`, too.
    """
    where = about.metadata.namespace or DEFAULT_NAMESPACE
    digest = safe_digest(about.metadata.uid, reason, message, occurrence, length=16)
    name = f"{about.metadata.name[:LONGEST_NAME].rstrip('-.')}.{digest}"
    return create(
        Event(
            metadata=ObjectMeta(name=name, namespace=where),
            involved_object=reference(about),
            reason=reason,
            message=message,
            type="Warning" if warning else "Normal",
            first_timestamp=now,
            last_timestamp=now,
            source={"component": component},
            reporting_component=component,
        )
    )


def is_event(write: Write) -> bool:
    """Return whether a write is only an Event for the user."""
    return write.resource is EVENTS
