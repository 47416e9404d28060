"""The API server's verbs: one path for every request, whether it came over TLS or from inside the daemon.

Each write goes through the same steps, in this order, and stops at the first that refuses:

    authorize -> namespace there? -> unknown fields, nulls -> types -> defaults -> strategy (what may be set and kept)
    -> validation -> Service allocation -> nothing changed? -> commit (or not: dry run)

Nothing awaits between the first step and the last, so writes cannot interleave and a patch needs no retry. Validation is
the topology file's own (`netlab.topology.problems_of`): what `netlab validate` accepts, the API server accepts.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from netlab.api.resources import NAMESPACES, NODES, PODS, SERVICES, Json
from netlab.api.times import timestamp
from netlab.api.wellknown import SYSTEM_NAMESPACES
from netlab.controlplane import strategy
from netlab.controlplane.admission import (
    Ingest,
    existing_namespace,
    ingest,
    preconditions,
    protected_namespace,
    same_version,
)
from netlab.controlplane.auth import ADMIN, NODE_PREFIX, Request, TokenTable, authorise
from netlab.controlplane.binding import BINDINGS, binding_target
from netlab.controlplane.controllers.naming import ALPHABET
from netlab.controlplane.expiry import MOST_EVENTS, EventExpiry
from netlab.controlplane.failures import answered
from netlab.controlplane.kinds.table import kind_of
from netlab.controlplane.lists import ListAnswer, ListOptions, list_objects
from netlab.controlplane.options import DELETE_IT, STORE_IT, ApiSettings, DeleteOptions, Target, WriteOptions, Written
from netlab.controlplane.patches import apply_patch
from netlab.controlplane.registry import Registry, Removal
from netlab.controlplane.restriction import Change, restrict
from netlab.controlplane.selectors import selection
from netlab.controlplane.services import ServiceAllocator
from netlab.controlplane.status import (
    AnyResource,
    FieldProblem,
    Problem,
    already_exists,
    bad_request,
    cannot_be_handled,
    conflict,
    invalid,
    method_not_allowed,
    not_found,
)
from netlab.controlplane.store import Store, Stored, at_version, encode
from netlab.controlplane.validation import problems_of
from netlab.controlplane.watch import Batch, WatchOptions, watch
from netlab.topology.problem import TYPE_INVALID


def utc_now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


def random_suffix() -> str:
    """Return five characters to end a generated name."""
    return "".join(secrets.choice(ALPHABET) for _ in range(5))


STATUS_PARTS: Final = ("status", "metadata")  # of an object, what a write of its status can change


class Api:
    """The API server without its sockets. `validate` and the sources of time, uids and suffixes can be exchanged in tests."""

    def __init__(
        self,
        store: Store,
        *,
        settings: ApiSettings | None = None,
        tokens: TokenTable | None = None,
        clock: Callable[[], datetime] = utc_now,
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
        new_suffix: Callable[[], str] = random_suffix,
        validate: Callable[[AnyResource, Json], Sequence[Problem]] = problems_of,
        most_events: int = MOST_EVENTS,
    ) -> None:
        self.store = store
        self.settings = settings or ApiSettings()
        self.tokens = tokens or TokenTable()
        self._clock, self._new_uid, self._new_suffix, self._validate = clock, new_uid, new_suffix, validate
        self._allocator = ServiceAllocator.of(self.settings.service_subnet, self.settings.node_port_range)
        self._registry = Registry(store, self._allocator, clock)
        self.expiry = EventExpiry(store, self._registry, clock, most_events)
        for name in SYSTEM_NAMESPACES:
            if store.get(NAMESPACES, "", name) is None:
                self.create(ADMIN, Target(NAMESPACES), {"metadata": {"name": name}})

    # ---- reading
    @answered
    def list(self, user: str, target: Target, options: ListOptions) -> ListAnswer:
        """Return the objects of a collection, selected and cut into pages."""
        self._authorise(user, "list", target)
        return list_objects(self.store, target.resource, target.namespace, options)

    @answered
    def get(self, user: str, target: Target) -> Stored:
        """Return one object; its `status` subresource is the object itself."""
        stored = self._find(target)
        self._authorise(user, "get", target, stored)
        return self._there(target, stored)

    @answered
    def watch(
        self, user: str, target: Target, options: WatchOptions, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Batch]:
        """Return the changes of a collection as batches; 400 and 403 are raised now, 410 by the iterator."""
        self._authorise(user, "watch", target)
        chosen = selection(target.resource, labels, fields)
        return watch(self.store, target.resource, replace(options, namespace=target.namespace, selection=chosen))

    # ---- writing
    @answered
    def create(self, user: str, target: Target, body: Json, options: WriteOptions = STORE_IT) -> Written:
        """Create an object from a body, which is not changed."""
        taken = ingest(target.resource, body, target.namespace, options.field_validation, options.duplicates)
        target = replace(target, name=self._name(target, taken))
        self._authorise(user, "create", target)
        existing_namespace(self.store, target.resource, target.namespace)
        return self._create(user, target, taken, options)

    def _create(self, user: str, target: Target, taken: Ingest, options: WriteOptions) -> Written:
        resource, new = target.resource, taken.body
        kind_of(resource).defaults(new)
        strategy.prepare_create(resource, new)
        kind_of(resource).defaults(new)  # what prepare_create reset
        meta = new["metadata"]
        meta["name"] = target.name
        meta["uid"], meta["creationTimestamp"] = self._new_uid(), timestamp(self._clock())
        self._check(resource, new, [])
        self._restrict(user, target, new, None)
        if self.store.get(resource, target.namespace, target.name) is not None:
            raise already_exists(resource, target.name)
        self._allocate(target, new)
        if options.dry_run:
            return Written(Stored(new, encode(new), 0), taken.warnings, created=True)
        return Written(self._registry.commit(resource, new), taken.warnings, created=True)

    @answered
    def update(self, user: str, target: Target, body: Json, options: WriteOptions = STORE_IT) -> Written:
        """Replace an object, or its status."""
        stored = self._find(target)
        self._authorise(user, "update", target, stored)
        taken = ingest(target.resource, body, target.namespace, options.field_validation, options.duplicates)
        name = taken.body["metadata"].setdefault("name", target.name)
        if name != target.name:
            raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({target.name})")
        creates = kind_of(target.resource).strategy.creates_on_update and not target.subresource
        if stored is None and creates:
            self._authorise(user, "create", target)
            existing_namespace(self.store, target.resource, target.namespace)
            return self._create(user, target, taken, options)
        return self._replace(user, target, self._there(target, stored), taken, options)

    @answered
    def patch(
        self, user: str, target: Target, media_type: str, patch: object, options: WriteOptions = STORE_IT
    ) -> Written:  # fmt: skip
        """Change an object by a merge patch or a JSON patch, named by its media type."""
        stored = self._find(target)
        self._authorise(user, "patch", target, stored)
        stored = self._there(target, stored)
        changed = apply_patch(media_type, stored.copy(), patch)
        taken = ingest(target.resource, changed, target.namespace, options.field_validation, options.duplicates)
        if taken.body["metadata"].get("name") != target.name:
            raise bad_request(f'metadata.name: a patch cannot rename "{target.name}"')
        return self._replace(user, target, stored, taken, options)

    def _replace(self, user: str, target: Target, stored: Stored, taken: Ingest, options: WriteOptions) -> Written:
        resource, new, old = target.resource, taken.body, stored.body
        same_version(target.resource, target.name, new, old)
        if target.subresource == "status":
            new = strategy.prepare_status_update(resource, new, old)
            self._check(resource, new, [], parts=STATUS_PARTS)
        else:
            kind_of(resource).defaults(new)
            strategy.prepare_update(resource, new, old)
            self._check(resource, new, strategy.change_problems(resource, new, old))
            self._allocate(target, new)
            strategy.count_generation(resource, new, old)
        self._restrict(user, target, new, old)
        new = at_version(new, stored.version)
        if new == old:
            return Written(stored, taken.warnings)
        if options.dry_run:
            return Written(Stored(new, encode(new), stored.version), taken.warnings)
        return Written(self._registry.commit(resource, new), taken.warnings)

    @answered
    def bind(self, user: str, target: Target, body: object, options: WriteOptions = STORE_IT) -> Written:
        """Assign a pod to a node: the pods/binding subresource of a scheduler."""
        stored = self._find(target)
        self._authorise(user, "create", target, stored)
        stored = self._there(target, stored)
        node = binding_target(body, target.name)
        if self.store.get(NODES, "", node) is None:
            words = f'Not found: "{node}": there is no Node of this name'
            raise invalid(BINDINGS, target.name, [FieldProblem("target.name", words, "FieldValueNotFound")])
        pod = stored.copy()
        if bound := pod["spec"].get("nodeName"):
            raise conflict(PODS, target.name, f'pod {target.name} is already assigned to node "{bound}"')
        if "deletionTimestamp" in pod["metadata"]:
            raise conflict(PODS, target.name, f"pod {target.name} is being deleted, cannot be assigned to a host")
        pod["spec"]["nodeName"] = node
        self._check(PODS, pod, [])
        if options.dry_run:
            return Written(Stored(pod, encode(pod), stored.version), created=True)
        return Written(self._registry.commit(PODS, pod), created=True)

    # ---- deleting
    @answered
    def delete(self, user: str, target: Target, options: DeleteOptions = DELETE_IT) -> Written:
        """Delete an object, or request it where a finalizer must finish first."""
        stored = self._find(target)
        self._authorise(user, "delete", target, stored)
        stored = self._there(target, stored)
        if target.subresource:
            raise method_not_allowed()
        protected_namespace(target.resource, target.name, SYSTEM_NAMESPACES)
        preconditions(
            target.resource, target.name, stored.body, {"UID": options.uid, "ResourceVersion": options.resource_version}
        )
        removal = Removal(target.resource, stored.key, options.grace, options.propagation)
        if options.dry_run:
            return Written(stored, gone=self._registry.deleted(removal, stored) is None)
        last = self._registry.delete(removal)
        return Written(last, gone=self.store.get(target.resource, *stored.key) is None)

    @answered
    def delete_collection(
        self, user: str, target: Target, chosen: ListOptions, options: DeleteOptions = DELETE_IT
    ) -> ListAnswer:  # fmt: skip
        """Delete every object of a collection that the selectors choose; returns them as they were."""
        self._authorise(user, "deletecollection", target)
        answer = list_objects(self.store, target.resource, target.namespace, replace(chosen, limit=0))
        for stored in answer.items:
            if self.store.get(target.resource, *stored.key) is not None:
                self.delete(user, replace(target, namespace=stored.key[0], name=stored.key[1]), options)
        return answer

    # ---- steps
    def _find(self, target: Target) -> Stored | None:
        return self.store.get(target.resource, target.namespace, target.name)

    def _there(self, target: Target, stored: Stored | None) -> Stored:
        if stored is None:
            raise not_found(target.resource, target.name)
        return stored

    def _authorise(self, user: str, verb: str, target: Target, stored: Stored | None = None) -> None:
        body = stored.body if stored else None
        authorise(Request(user, verb, target.resource, target.namespace, target.name, target.subresource, body))

    def _restrict(self, user: str, target: Target, new: Json, old: Json | None) -> None:
        node = self.store.get(NODES, "", user.removeprefix(NODE_PREFIX))
        restrict(Change(user, target.resource, target.subresource, new, old, node.body if node else None))

    def _name(self, target: Target, taken: Ingest) -> str:
        meta = taken.body["metadata"]
        name, prefix = meta.get("name", ""), meta.get("generateName", "")
        while prefix and not name:
            candidate = f"{prefix}{self._new_suffix()}"
            name = candidate if self.store.get(target.resource, target.namespace, candidate) is None else ""
        return str(name)

    def _check(
        self, resource: AnyResource, body: Json, problems: Sequence[Problem], *, parts: tuple[str, ...] = ()
    ) -> None:  # fmt: skip
        """Refuse a body with problems: 400 for wrong types, 422 for others. `parts`: what was written."""
        found = [*problems, *self._validate(resource, body)]
        if parts:
            found = [problem for problem in found if problem.path.startswith(parts)]
        if wrong := [problem for problem in found if problem.reason == TYPE_INVALID]:
            raise cannot_be_handled(resource, f"{wrong[0].path}: {wrong[0].message}")
        if found:
            raise invalid(resource, body["metadata"].get("name", ""), found)

    def _allocate(self, target: Target, body: Json) -> None:
        if target.resource is not SERVICES:
            return
        if problems := self._allocator.allocate(f"{target.namespace}/{target.name}", body["spec"]):
            raise invalid(target.resource, target.name, problems)
