"""Events."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import EVENTS
from netlab.controlplane.kinds.kind import Kind, Strategy

KIND: Final = Kind(
    EVENTS,
    Strategy(creates_on_update=True),
    selectable=(
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
)
