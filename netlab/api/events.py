"""core/v1: Event: something that happened to an object, for whoever reads it."""

from __future__ import annotations

from netlab.api.meta import Inert, Object, ObjectReference


class Event(Object, frozen=True, kw_only=True):
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 1
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    source: Inert = None
    reporting_component: str = ""
    reporting_instance: str = ""
    action: str = ""
