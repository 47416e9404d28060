"""DaemonSets."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import DAEMON_SETS, Json
from netlab.controlplane.kinds.filling import fill
from netlab.controlplane.kinds.kind import Kind, Strategy
from netlab.controlplane.kinds.pod import fill_template


def _defaults(body: Json) -> None:
    spec = body.setdefault("spec", {})
    fill(spec, {"revisionHistoryLimit": 10})
    spec.setdefault(
        "updateStrategy",
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
    )
    fill_template(spec)


KIND: Final = Kind(
    DAEMON_SETS,
    Strategy(has_generation=True, immutable=("spec.selector",)),
    defaults=_defaults,
    categories=("all",),
    makes_pods=True,
)
