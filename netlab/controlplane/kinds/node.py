"""Nodes. One may be created with its status; updates of the status may change its annotations."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import NODES, Json
from netlab.controlplane.kinds.kind import Kind, Strategy
from netlab.controlplane.status import FieldProblem


def _change_problems(new: Json, old: Json) -> list[FieldProblem]:
    before = old.get("spec", {}).get("podCIDR")
    if not before or new.get("spec", {}).get("podCIDR") == before:
        return []
    text = 'Forbidden: node updates may not change podCIDR except from "" to valid'
    return [FieldProblem("spec.podCIDRs", text, "FieldValueForbidden")]


KIND: Final = Kind(
    NODES,
    Strategy(keeps_new_status=True, status_has_metadata=True, change_problems=_change_problems),
    selectable=("spec.unschedulable",),
)
