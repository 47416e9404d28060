"""ReplicaSets."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import REPLICA_SETS, Json
from netlab.controlplane.kinds.kind import Kind, Strategy
from netlab.controlplane.kinds.pod import fill_template


def _defaults(body: Json) -> None:
    spec = body.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    fill_template(spec)


KIND: Final = Kind(
    REPLICA_SETS,
    Strategy(has_generation=True, immutable=("spec.selector",)),
    defaults=_defaults,
    selectable=("status.replicas",),
    categories=("all",),
    makes_pods=True,
)
