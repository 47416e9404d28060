"""Deployments."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import DEPLOYMENTS, Json
from netlab.controlplane.kinds.filling import fill
from netlab.controlplane.kinds.kind import Kind, Strategy
from netlab.controlplane.kinds.pod import fill_template

_ROLLING: Json = {"maxUnavailable": "25%", "maxSurge": "25%"}


def _defaults(body: Json) -> None:
    spec = body.setdefault("spec", {})
    fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    strategy = spec.setdefault("strategy", {})
    if isinstance(strategy, dict):
        strategy["type"] = strategy.get("type") or "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            if isinstance(rolling, dict):
                fill(rolling, _ROLLING)
    fill_template(spec)


KIND: Final = Kind(
    DEPLOYMENTS,
    Strategy(has_generation=True, immutable=("spec.selector",)),
    defaults=_defaults,
    categories=("all",),
    makes_pods=True,
)
