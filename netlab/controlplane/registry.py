"""The registry: the invariants of storing and removing objects.

- Service addresses and node ports follow the Services (semantics 4.5, 4.9).
- A deleted object waits for its finalizers, a Pod on a node for its grace period; then it goes.
- Dependents follow their owners, by the uid in their ownerReferences: deleted (Background), deleted before their owner
  (Foreground) or left alone (Orphan). A dependent whose owners are gone already goes at once.
- A namespace being deleted takes its content with it and goes when it is empty.

Removals cause removals (Deployment, ReplicaSet, Pods); a work list, not recursion, carries them out, so that depth
costs nothing and each object is looked at in a consistent state.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from netlab.api.resources import BY_KIND, NAMESPACES, RESOURCES, SERVICES, Json
from netlab.api.times import timestamp
from netlab.containment import Contained
from netlab.controlplane.kinds.table import kind_of
from netlab.controlplane.services import ServiceAllocator
from netlab.controlplane.status import AnyResource
from netlab.controlplane.store import Key, Store, Stored

BACKGROUND: Final = "Background"
FOREGROUND: Final = "Foreground"
ORPHAN: Final = "Orphan"
FOREGROUND_FINALIZER: Final = "foregroundDeletion"
log = logging.getLogger("netlab.controlplane")
Identity = tuple[AnyResource, Key]


@dataclass(frozen=True)
class Removal:
    """One delete to carry out."""

    resource: AnyResource
    key: Key
    grace: int | None = None
    propagation: str = BACKGROUND


class Registry:
    """The store, with the invariants above kept."""

    def __init__(self, store: Store, allocator: ServiceAllocator, clock: Callable[[], datetime]) -> None:
        self.store = store
        self.allocator = allocator
        self._clock = clock
        self._live: dict[str, Identity] = {}  # uid -> object
        self._dependents: dict[str, dict[tuple[str, Key], AnyResource]] = {}  # owner's uid -> its dependents
        self._work: deque[Removal] = deque()
        for resource, stored in store.all():
            with Contained() as attempt:  # no stored object keeps the server from starting
                self._index(resource, stored)
            if attempt.error is not None:
                log.error("object=not-indexed resource=%s key=%s", resource.plural, "/".join(stored.key), exc_info=attempt.error)

    # ---- storing
    def commit(self, resource: AnyResource, body: Json) -> Stored:
        """Store a body; if that completes a deletion (the last finalizer went), remove the object."""
        stored = self._put(resource, body)
        if _deletion_complete(resource, stored.body) or self._is_orphan(stored.body):
            self._work.append(Removal(resource, stored.key, grace=0 if _deletion_complete(resource, stored.body) else None))
            self._carry_out()
        return stored

    def _put(self, resource: AnyResource, body: Json) -> Stored:
        meta = body["metadata"]
        previous = self.store.get(resource, meta.get("namespace", ""), meta["name"])
        owners = _owner_uids(previous)  # before `put`: a superseded body has to be decoded again
        stored = self.store.put(resource, body)
        for gone in owners - _owner_uids(stored):
            self._forget_dependent(gone, resource, previous)
        self._index(resource, stored)
        return stored

    def _index(self, resource: AnyResource, stored: Stored) -> None:
        self._live[stored.body["metadata"].get("uid", "")] = (resource, stored.key)
        for uid in _owner_uids(stored):
            self._dependents.setdefault(uid, {})[resource.plural, stored.key] = resource
        if resource is SERVICES:
            self.allocator.hold("/".join(stored.key), stored.body.get("spec", {}))

    def _forget_dependent(self, owner: str, resource: AnyResource, stored: Stored | None) -> None:
        dependents = self._dependents.get(owner, {})
        if stored is not None:
            dependents.pop((resource.plural, stored.key), None)
        if not dependents:
            self._dependents.pop(owner, None)

    def _is_orphan(self, body: Json) -> bool:
        """Return whether all owners of an object are gone. An owner of a kind that is not served here counts as there."""
        owners = body["metadata"].get("ownerReferences") or ()
        served = [o for o in owners if (o.get("apiVersion", ""), o.get("kind", "")) in BY_KIND]
        return bool(owners) and len(served) == len(owners) and not any(o.get("uid") in self._live for o in owners)

    # ---- removing
    def delete(self, removal: Removal) -> Stored:
        """Delete an object, or begin to; returns its last state. All that follows from it has happened on return."""
        stored = self._begin(removal)
        self._carry_out()
        return stored

    def expire(self, resource: AnyResource, key: Key) -> None:
        """Remove an expired object; finalizers do not hold it, as they do not hold a key of etcd with a lease."""
        stored = self.store.get(resource, *key)
        if stored is not None:
            self._remove(resource, stored, BACKGROUND)
            self._carry_out()

    def _carry_out(self) -> None:
        while self._work:
            removal = self._work.popleft()
            if self.store.get(removal.resource, *removal.key) is not None:
                self._begin(removal)

    def _begin(self, removal: Removal) -> Stored:
        resource, key = removal.resource, removal.key
        stored = self.store.get(resource, *key)
        if stored is None:
            raise KeyError(key)
        body = self.deleted(removal, stored)
        if body is not None:
            if body["metadata"] != stored.body["metadata"]:
                stored = self._put(resource, body)
            if FOREGROUND_FINALIZER in (body["metadata"].get("finalizers") or ()):
                self._work.extend(self._dependent_removals(body["metadata"]["uid"], FOREGROUND))
            if resource is NAMESPACES:
                self._empty_namespace(stored)
            return self.store.get(resource, *key) or stored
        return self._remove(resource, stored, removal.propagation)

    def deleted(self, removal: Removal, stored: Stored) -> Json | None:
        """Return the body that a deletion leaves behind for now, None when the object goes at once. Changes nothing."""
        body, now = stored.body, self._clock()
        meta = dict(body["metadata"])
        grace = kind_of(removal.resource).strategy.grace(body, removal.grace)
        finalizers = list(meta.get("finalizers") or ())
        if removal.propagation == FOREGROUND and self._dependents.get(meta["uid"]) and FOREGROUND_FINALIZER not in finalizers:
            finalizers.append(FOREGROUND_FINALIZER)
            meta["finalizers"] = finalizers
        if removal.resource is NAMESPACES:
            if not self.store.population(meta["name"]):
                return None
            body = {**body, "status": {**body.get("status", {}), "phase": "Terminating"}}
        elif grace == 0 and not finalizers:
            return None
        before = meta.get("deletionGracePeriodSeconds")
        if "deletionTimestamp" not in meta or (before is not None and grace < before):
            meta["deletionTimestamp"] = timestamp(now + timedelta(seconds=grace))
            meta["deletionGracePeriodSeconds"] = grace
        return {**body, "metadata": meta}

    def _remove(self, resource: AnyResource, stored: Stored, propagation: str) -> Stored:
        meta = stored.body["metadata"]
        last = self.store.remove(resource, *stored.key)
        self._live.pop(meta["uid"], None)
        if resource is SERVICES:
            self.allocator.release("/".join(stored.key))
        for owner in _owner_uids(stored):
            self._forget_dependent(owner, resource, stored)
            self._finish_foreground(owner)
        self._leave_dependents(meta["uid"], propagation)
        if namespace := meta.get("namespace"):
            self._finish_namespace(namespace)
        return last

    # ---- owners and dependents
    def _dependent_removals(self, owner: str, propagation: str) -> list[Removal]:
        dependents = self._dependents.get(owner, {})
        return [Removal(resource, key, propagation=propagation) for (_, key), resource in sorted(dependents.items(), key=_name)]

    def _leave_dependents(self, owner: str, propagation: str) -> None:
        """Treat the dependents of an object that just went: those with another living owner only lose the reference."""
        for removal in self._dependent_removals(owner, BACKGROUND):
            stored = self.store.get(removal.resource, *removal.key)
            if stored is None:
                continue
            others = [o for o in stored.body["metadata"].get("ownerReferences", ()) if o.get("uid") != owner]
            if propagation == ORPHAN or any(o.get("uid") in self._live for o in others):
                meta = {**stored.body["metadata"], "ownerReferences": others}
                if not others:
                    del meta["ownerReferences"]
                self._put(removal.resource, {**stored.body, "metadata": meta})
            else:
                self._work.append(removal)

    def _finish_foreground(self, owner: str) -> None:
        """Remove an owner that waited for its dependents, when the last one is gone."""
        identity = self._live.get(owner)
        stored = self.store.get(identity[0], *identity[1]) if identity else None
        if identity is None or stored is None or self._dependents.get(owner):
            return
        meta = stored.body["metadata"]
        finalizers = [name for name in meta.get("finalizers") or () if name != FOREGROUND_FINALIZER]
        if len(finalizers) == len(meta.get("finalizers") or ()):
            return
        self._put(identity[0], {**stored.body, "metadata": {**meta, "finalizers": finalizers}})
        if not finalizers:
            self._work.append(Removal(identity[0], identity[1], grace=0))

    # ---- namespaces
    def _content(self, namespace: str) -> list[Removal]:
        return [Removal(r, stored.key) for r in RESOURCES if r.namespaced for stored in self.store.list(r, namespace)]

    def _empty_namespace(self, namespace: Stored) -> None:
        self._work.extend(self._content(namespace.body["metadata"]["name"]))

    def _finish_namespace(self, name: str) -> None:
        namespace = self.store.get(NAMESPACES, "", name)
        if namespace and "deletionTimestamp" in namespace.body["metadata"] and not self.store.population(name):
            self._work.append(Removal(NAMESPACES, ("", name)))


def _owner_uids(stored: Stored | None) -> set[str]:
    if stored is None:
        return set()
    return {str(owner.get("uid", "")) for owner in stored.body["metadata"].get("ownerReferences") or ()}


def _name(item: tuple[tuple[str, Key], AnyResource]) -> tuple[str, Key]:
    return item[0]


def _deletion_complete(resource: AnyResource, body: Json) -> bool:
    """Return whether an object under deletion has nothing left to wait for."""
    meta = body["metadata"]
    waits = bool(meta.get("finalizers")) or resource is NAMESPACES or meta.get("deletionGracePeriodSeconds", 0) > 0
    return "deletionTimestamp" in meta and not waits
