"""Services."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import SERVICES, Json
from netlab.controlplane import services
from netlab.controlplane.kinds.kind import Kind, Strategy
from netlab.controlplane.status import FieldProblem


def _prepare_create(body: Json) -> None:
    services.match_cluster_ips(body.setdefault("spec", {}))


def _prepare_update(new: Json, old: Json) -> None:
    before, after = old.get("spec", {}), new.setdefault("spec", {})
    services.carry_over(after, before)
    services.drop_type_dependent(after, before)
    services.match_cluster_ips(after, before)
    if after.get("type") != "LoadBalancer" and new.get("status", {}).get("loadBalancer"):
        new["status"] = {**new["status"], "loadBalancer": {}}


def _change_problems(new: Json, old: Json) -> list[FieldProblem]:
    return services.immutable_problems(new.get("spec", {}), old.get("spec", {}))


KIND: Final = Kind(
    SERVICES,
    Strategy(
        status_has_metadata=True,
        creates_on_update=True,
        prepare_create=_prepare_create,
        prepare_update=_prepare_update,
        change_problems=_change_problems,
    ),
    selectable=("spec.clusterIP", "spec.type"),
    categories=("all",),
    returns_deleted=True,
)
