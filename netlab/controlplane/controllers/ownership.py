"""The controller of an object, and adopting and releasing by labels (Kubernetes' controller reference manager).

An owner has the objects whose controller reference names its uid. It adopts those that its selector matches and
that have no controller, and releases those it controls that no longer match. It adopts no object that is being deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from netlab.api.meta import LabelSelector, Object, OwnerReference
from netlab.api.resources import BY_TYPE, Json
from netlab.api.selection import selects
from netlab.controlplane.controllers.writes import Write, patch

T = TypeVar("T", bound=Object)


def controller_of(obj: Object) -> OwnerReference | None:
    """Return the reference to the object's controller."""
    return next((reference for reference in obj.metadata.owner_references if reference.controller), None)


def owner_reference(owner: Object, *, controller: bool = True) -> OwnerReference:
    """Return the reference that makes an object depend on its owner: it is deleted with it."""
    resource = BY_TYPE[type(owner)]
    return OwnerReference(
        api_version=resource.api_version,
        kind=resource.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=controller,
        block_owner_deletion=controller,
    )


def claim(owner: Object, selector: LabelSelector, candidates: Iterable[T]) -> tuple[list[T], list[Write]]:
    """Return the objects that belong to `owner` (those just adopted included) and the writes that make it so."""
    mine: list[T] = []
    writes: list[Write] = []
    for obj in candidates:
        controller = controller_of(obj)
        matches = selects(selector, obj.metadata.labels)
        if controller and controller.uid == owner.metadata.uid:
            if matches:
                mine.append(obj)
            elif owner.metadata.deletion_timestamp is None:
                others = (r for r in obj.metadata.owner_references if r.uid != owner.metadata.uid)
                writes.append(with_references(obj, others))
        elif controller is None and matches and not _leaving(obj) and not _leaving(owner):
            mine.append(obj)
            writes.append(with_references(obj, (*obj.metadata.owner_references, owner_reference(owner))))
    return mine, writes


def _leaving(obj: Object) -> bool:
    return obj.metadata.deletion_timestamp is not None


def with_references(obj: Object, references: Iterable[OwnerReference]) -> Write:
    """Return the change of an object's owners. It names the version it is meant for: two may want to adopt at once."""
    metadata: Json = {"ownerReferences": [msgspec.to_builtins(reference) for reference in references]}
    if obj.metadata.resource_version:
        metadata["resourceVersion"] = obj.metadata.resource_version
    return patch(obj, {"metadata": metadata})
