"""Pods."""

from __future__ import annotations

from typing import Final

from netlab.api.resources import PODS
from netlab.controlplane.kinds.kind import Kind, Subresource

KIND: Final = Kind(
    PODS,
    selectable=(
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    categories=("all",),
    more_subresources=(Subresource("binding", "Binding", ("create",)),),
    returns_deleted=True,
)
