"""The loop that runs the controllers: wait for changes, take a snapshot, plan, write, wait until its own writes are seen.

Rules:
1. A round takes one snapshot for all controllers and performs what they return. The next round begins only when the
   informers have seen these writes, so no controller ever acts twice on the same fact.
2. Conflict, NotFound and AlreadyExists mean that the snapshot was stale. The change that made it stale is on its way
   and starts the next round: nothing is tried again on the same snapshot, so there is no busy loop.
3. A write that the server refuses for another reason is logged and kept in `refused`; its controller runs again
   whenever anything changes. So it does after a write that breaks, or a plan that breaks as a whole.
4. A controller without changes in its kinds is skipped.
5. The same Event is sent once, since its name is derived from its content.
6. `has_reconciled` is how far a controller has come by itself. A write that was stale is yet to be done; one that the
   server refused for another reason is not waited for.
7. After the rounds the manager rests as long as they took, at most REST_SECONDS: in a big lab changes come by the thousand,
   and the process has other work than to look at each by itself. In a small lab that is a millisecond.
8. An object for which a controller cannot plan (`Failed`) concerns no other object, as in Kubernetes' work queues: it is logged
   once, has one Event, and is planned again when anything changes that its controller looks at, else after a delay that
   doubles. `problems` names it until a plan succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from netlab.api.numbers import whole_number
from netlab.api.resources import Json, Resource
from netlab.api.times import timestamp
from netlab.containment import Contained, Containment, describe
from netlab.controlplane.client import Client
from netlab.controlplane.controllers.per_object import Failed, Step
from netlab.controlplane.controllers.table import CONTROLLERS, Controller
from netlab.controlplane.controllers.world import FIELDS, World
from netlab.controlplane.controllers.writes import Create, Write, event, is_event
from netlab.controlplane.informer import Informer
from netlab.controlplane.performing import perform
from netlab.errors import ApiError
from netlab.recent import Recent

log = logging.getLogger("netlab.controlplane")
KINDS: dict[str, str] = {resource.kind: name for name, resource in FIELDS.items()}
STALE = frozenset({"Conflict", "NotFound", "AlreadyExists"})  # reasons to look again
REST_SECONDS = 0.1  # between rounds, at most
BURST = 50  # writes after which other tasks of the process get their turn


def rfc3339_now() -> str:
    """Return the time as Kubernetes writes it."""
    return timestamp(datetime.now(UTC))


class Manager:
    """Runs all controllers against one API server.

    `informers` are keyed by the fields of World and share the event `changed`. `last_change` is the resourceVersion
    of the newest change of a kind (`Store.last_change`): with it, and only with it, "nothing left to do" is exact.
    """

    def __init__(
        self,
        client: Client,
        informers: Mapping[str, Informer[Any]],
        changed: asyncio.Event,
        last_change: Callable[[Resource[Any]], int],
        *,
        controllers: Iterable[Controller] = CONTROLLERS,
        now: Callable[[], str] = rfc3339_now,
        longest_rest: float = REST_SECONDS,
    ) -> None:
        self._client = client
        self._informers = informers
        self._changed = changed
        self._last_change = last_change
        self._controllers = tuple(controllers)
        self._now = now
        self._longest_rest = longest_rest
        self._world = World()
        self._seen: dict[str, int] = {}  # per kind, the resourceVersion of the snapshot
        self._quiet: dict[str, int] = {}  # the same of the last snapshot that left nothing to do
        self._unfinished: set[str] = set()  # controllers whose writes were not all accepted
        self._stale: set[str] = set()  # controllers whose last run met a stale snapshot
        self._reconciled: dict[str, Mapping[str, int]] = {}  # by controller: the versions of its last run without a stale write
        self.listeners: set[asyncio.Event] = set()  # set after each round: it may end without any change of an object
        self._told: Recent[str] = Recent()  # Events sent
        self._round_over = asyncio.Condition()
        self._refused: dict[str, dict[str, str]] = {}  # by controller: writes refused in its last run, and why
        self._failed = {row.name: Containment(log, row.name, time.monotonic) for row in self._controllers}

    @classmethod
    def over(
        cls,
        client: Client,
        last_change: Callable[[Resource[Any]], int],
        *,
        controllers: Iterable[Controller] = CONTROLLERS,
        now: Callable[[], str] = rfc3339_now,
        longest_rest: float = REST_SECONDS,
    ) -> Manager:
        """Return a manager with its own informers."""
        changed = asyncio.Event()
        informers = {name: Informer(client, resource, changed=changed) for name, resource in FIELDS.items()}
        return cls(client, informers, changed, last_change, controllers=controllers, now=now, longest_rest=longest_rest)

    async def run(self) -> None:
        """Run informers and controllers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._informers.values():
                tasks.create_task(informer.run())
            clock = asyncio.get_running_loop().time
            while True:
                await self._news()
                self._changed.clear()
                if all(informer.has_synced for informer in self._informers.values()):
                    start = clock()
                    await self._settle()
                    await asyncio.sleep(min(clock() - start, self._longest_rest))

    async def _news(self) -> None:
        """Wait until something has changed, or an object that failed is to be tried again."""
        due = min((d for failed in self._failed.values() if (d := failed.next_due) is not None), default=None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                await self._changed.wait()

    @property
    def problems(self) -> tuple[str, ...]:
        """The objects that could not be read or planned for, one sentence each, for the user."""
        unread = (words for informer in self._informers.values() for words in informer.problems())
        failed = (
            f"{key}: controller {name} failed: {failure.message}"
            for name, failed in self._failed.items()
            for key, failure in failed.failures.items()
        )
        return (*unread, *failed)

    @property
    def refused(self) -> tuple[str, ...]:
        """The writes that the server refused, one sentence each, for the user."""
        return tuple(f"{write}: {text}" for writes in self._refused.values() for write, text in writes.items())

    @property
    def processed(self) -> int:
        """The resourceVersion up to which everything has been reconciled, with nothing left to do."""
        if not self._quiet:
            return 0
        behind = self._behind()
        return min((self._quiet[name] for name in behind), default=max(self._quiet.values()))

    @property
    def idle(self) -> bool:
        """Return whether there is nothing left to do about any change so far."""
        return self._is_idle(0)

    def has_reconciled(self, controller: str, name: str, version: int) -> bool:
        """Return whether a controller has written what follows from the objects of a kind as of a resourceVersion."""
        return self._reconciled.get(controller, {}).get(name, 0) >= version

    async def wait_idle(self, resource_version: int = 0) -> None:
        """Return when all changes up to a resourceVersion have been reconciled; 0 means all that there are now."""
        async with self._round_over:
            await self._round_over.wait_for(lambda: self._is_idle(resource_version))

    async def wait_round(self) -> None:
        """Return when a series of rounds has come to its end."""
        async with self._round_over:
            await self._round_over.wait()

    def _is_idle(self, resource_version: int) -> bool:
        if not self._quiet:
            return False
        return not self._behind() or 0 < resource_version <= self.processed

    def _behind(self) -> list[str]:
        """Return the kinds that have changes which no quiet round has seen."""
        return [name for name, version in self._quiet.items() if version < self._last_change(FIELDS[name])]

    async def _settle(self) -> None:
        """Run rounds until one changes nothing."""
        while await self._round():
            pass
        self._quiet = dict(self._seen)
        async with self._round_over:
            self._round_over.notify_all()

    async def _round(self) -> bool:
        """Look, plan, write; return whether anything was changed, or an object fails that did not before."""
        dirty = self._look()
        now = self._now()
        reached: dict[str, int] = {}
        for controller in self._controllers:
            if controller.kinds & dirty or controller.name in self._unfinished or self._is_due(controller):
                await self._run(controller, now, reached)
        for listener in self.listeners:
            listener.set()
        for name, version in reached.items():
            await self._informers[name].wait_for(version)
        failing = frozenset(key for failed in self._failed.values() for key in failed.failures)
        fresh = failing - self._world.failing
        self._world = replace(self._world, failing=failing, failures=[])
        if fresh:  # no `up` waits for these any more: the scheduler need not wait for their pods
            self._unfinished.update(controller.name for controller in self._controllers)
        return bool(reached) or bool(fresh)

    def _is_due(self, controller: Controller) -> bool:
        due = self._failed[controller.name].next_due
        return due is not None and due <= time.monotonic()

    async def _run(self, controller: Controller, now: str, reached: dict[str, int]) -> None:
        """Let a controller plan and write; note in `reached` the newest resourceVersion that each kind came to."""
        self._unfinished.discard(controller.name)
        self._stale.discard(controller.name)
        before = self._refused.pop(controller.name, {})
        writes = [write for write in self._plan(controller, now) if self._is_news(write)]
        for position, write in enumerate(writes, start=1):
            version = await self._attempt(controller, write, before)
            name = KINDS.get(write.resource.kind)
            if name and version > self._seen[name]:
                reached[name] = max(version, reached.get(name, 0))
            if position % BURST == 0:
                await asyncio.sleep(0)
        if controller.name not in self._stale:
            self._reconciled[controller.name] = self._seen

    def _plan(self, controller: Controller, now: str) -> list[Write]:
        """Return the writes of a controller, with an Event about each object that it cannot plan for."""
        steps: list[Step] = []
        failed = self._failed[controller.name]
        with Contained() as attempt:
            steps = controller.reconcile(self._world, now)
        if attempt.error is not None:
            self._stale.add(controller.name)  # it has followed nothing of what it has seen
            whole = self._world.lab
            steps = [Failed(whole, attempt.error)] if whole else []
            if whole is None and failed.is_due(controller.name):
                failed.failed(controller.name, attempt.error)
        failures = {step.key: step for step in steps if isinstance(step, Failed)}
        for key, failure in failures.items():
            version = failure.object.metadata.resource_version
            if failed.is_due(key, version):
                failed.failed(key, failure.error, version)
        failed.keep({*failures, *([controller.name] if attempt.error is not None else [])})
        return [_event(step, controller, now) if isinstance(step, Failed) else step for step in steps]

    async def _attempt(self, controller: Controller, write: Write, before: Mapping[str, str]) -> int:
        """Do one write and return the resourceVersion it led to, 0 when it was not accepted."""
        body: Json = {}
        with Contained() as attempt:
            body = await perform(self._client, write)
        if attempt.error is not None:
            self._not_done(controller, write, attempt.error, before)
            return 0
        log.debug("write=done controller=%s words=%r", controller.name, str(write))
        return whole_number(body.get("metadata", {}).get("resourceVersion"))

    def _not_done(self, controller: Controller, write: Write, error: Exception, before: Mapping[str, str]) -> None:
        """Note a write that was not accepted; what is refused or broken is logged once, however often it is tried."""
        self._unfinished.add(controller.name)
        words, text = str(write), describe(error)
        if isinstance(error, ApiError) and error.reason in STALE:
            self._stale.add(controller.name)
            log.debug("write=stale controller=%s words=%r reason=%s", controller.name, words, error.reason)
            return
        self._refused.setdefault(controller.name, {})[words] = text
        if before.get(words) != text:
            trace = None if isinstance(error, ApiError) else error
            log.warning("write=refused controller=%s words=%r message=%r", controller.name, words, text, exc_info=trace)

    def _look(self) -> set[str]:
        """Take a new snapshot of the kinds that have changed, and return which these are."""
        versions = {name: informer.resource_version for name, informer in self._informers.items()}
        dirty = {name for name, version in versions.items() if version != self._seen.get(name)}
        fresh: dict[str, Any] = {name: dict(self._informers[name].cache) for name in dirty}
        unreadable = frozenset(
            f"{informer.resource.plural}/{key}" for informer in self._informers.values() for key in informer.unreadable
        )
        self._world = replace(self._world, **fresh, unreadable=unreadable, failures=[])
        self._seen = versions
        return dirty

    def _is_news(self, write: Write) -> bool:
        """Return whether a write is not an Event that was sent before."""
        if not is_event(write) or not isinstance(write, Create):
            return True
        known = write.object.key in self._told
        self._told.add(write.object.key)
        return not known


def _event(failed: Failed, controller: Controller, now: str) -> Write:
    """Return the Event about an object that a controller could not plan for."""
    return event(failed.object, now, reason=controller.reason, message=failed.message, component=controller.name, warning=True)
