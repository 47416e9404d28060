"""Informer: a client's up-to-date copy of all objects of one kind (list, then watch, for ever).

Rules:
1. The cache is what the server sent last; it may be old, never wrong. Code that acts on it is level-triggered.
2. A watch continues where it ended; only 410 Gone leads to a new list. So a restart of the API server costs nothing,
   and while it is down the cache stays as it was: a node continues with its copy.
3. `resource_version` is how far the cache has come, by the newest list, event or bookmark.
4. A new list is compared with the cache: only what really differs is reported as a change.
5. An object that does not decode, or whose change a handler cannot take, concerns no other object: it is logged once and named
   in `unreadable`, and list and watch continue. The cache keeps what it could read of the object last: an object that has
   become unreadable is not one that is gone. It is read again when it changes.

Several informers may share one `changed` event; the loop that waits for it clears it and looks at everything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar, cast

from netlab.api.meta import Object
from netlab.api.numbers import whole_number
from netlab.api.resources import Json, Resource
from netlab.containment import Contained, Containment, Failure
from netlab.controlplane.client import Client, WatchEvent
from netlab.errors import ApiError, is_gone

log = logging.getLogger("netlab.controlplane")
T = TypeVar("T", bound=Object)
ChangeHandler = Callable[[str, "T | None", "T | None"], None]  # key, object before, object after

FIRST_RETRY_SECONDS: Final = 0.1  # after the first failure; doubles
LONGEST_RETRY_SECONDS: Final = 5.0


def key_of(body: Json) -> str:
    """Return `namespace/name`, or `name`."""
    meta = body["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


class Informer(Generic[T]):
    """Keeps `cache` (typed objects by key; plain JSON with decode=False) equal to the server's objects of one kind."""

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        *,
        decode: bool = True,
        changed: asyncio.Event | None = None,
        on_change: ChangeHandler[T] | None = None,
        label_selector: str = "",
        field_selector: str = "",
        first_retry: float = FIRST_RETRY_SECONDS,
        longest_retry: float = LONGEST_RETRY_SECONDS,
    ) -> None:
        self.client = client
        self.resource = resource
        self.cache: dict[str, T] = {}
        self.resource_version = 0
        self.has_synced = False
        self.changed = changed or asyncio.Event()
        self.on_change: list[ChangeHandler[T]] = [on_change] if on_change else []
        self._decode: Callable[[Json], T] = resource.decode if decode else cast("Callable[[Json], T]", dict)
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._unread = Containment(log, resource.kind, time.monotonic)
        self._first_retry, self._longest_retry = first_retry, longest_retry
        self._must_list = True
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def unreadable(self) -> Mapping[str, Failure]:
        """The objects that could not be decoded as the server has them now, by key."""
        return self._unread.failures

    def problems(self) -> list[str]:
        """Return a sentence for each object that could not be decoded."""
        kind = self.resource.kind
        return [f"{kind} {key} cannot be read: {failure.message}" for key, failure in self.unreadable.items()]

    async def run(self) -> None:
        """List and watch until cancelled; failures of the server, and answers that make no sense, only delay."""
        pause = self._first_retry
        while True:
            before = self.resource_version
            with Contained() as attempt:
                if self._must_list:
                    await self._list()
                await self._watch()
            reason = self._broke_off(attempt.error)
            longer = min(2 * pause, self._longest_retry)
            pause = self._first_retry if self.resource_version != before else longer
            log.info("event=watch-ended resource=%s again-in=%.1f reason=%r", self.resource.plural, pause, reason)
            await asyncio.sleep(pause)

    def _broke_off(self, error: Exception | None) -> str:
        """Return why list or watch has ended; after anything but a failure of the server begin with a new list."""
        if error is None:
            return "the server closed the watch"
        if isinstance(error, ApiError):
            self._must_list = self._must_list or is_gone(error)
            return error.message
        self._must_list = True
        log.error("event=watch-broken resource=%s", self.resource.plural, exc_info=error)
        return repr(error)

    async def wait_for(self, resource_version: int | str = 0) -> None:
        """Wait until the cache has come as far as a resourceVersion of this kind; without one, until the first list."""
        wanted = whole_number(resource_version)
        if self.has_synced and self.resource_version >= wanted:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (wanted, future)
        self._waiting.append(entry)
        try:
            await future
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    # ---- list and watch
    async def _list(self) -> None:
        answer = await self.client.list(self.resource, **self._selectors)
        listed = self._keyed(answer.items)
        for key in [key for key in self.cache if key not in listed]:
            self._forget(key)
        self._unread.keep(listed)
        for key, body in listed.items():
            self._read(key, body)
        self._must_list = False
        self.has_synced = True
        self._reached(whole_number(answer.resource_version))
        self.changed.set()

    def _keyed(self, items: Iterable[Json]) -> dict[str, Json]:
        """Return the listed objects by key; one without a key is not an object, and only logged."""
        listed: dict[str, Json] = {}
        for body in items:
            with Contained() as attempt:
                listed[key_of(body)] = body
            if attempt.error is not None:
                log.warning("event=nameless resource=%s error=%r", self.resource.plural, attempt.error)
        return listed

    async def _watch(self) -> None:
        stream = self.client.watch(self.resource, resource_version=str(self.resource_version), **self._selectors)
        async for event in stream:
            self._apply(event)

    def _apply(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            self._forget(key_of(event.object))
        elif event.type in {"ADDED", "MODIFIED"}:
            self._read(key_of(event.object), event.object)
        self._reached(whole_number(event.resource_version))
        if event.type != "BOOKMARK":  # it reports progress, and is not a change to act on
            self.changed.set()

    def _read(self, key: str, body: Json) -> None:
        """Store an object as the server has it now."""
        with self._unread.contain(key, str(body["metadata"].get("resourceVersion", ""))):
            obj = self._decode(body)
            if self.cache.get(key) != obj:
                self._change(key, obj)

    def _forget(self, key: str) -> None:
        """Remove an object that is gone."""
        with self._unread.contain(key):
            self._change(key, None)
        self._unread.forget(key)

    def _change(self, key: str, obj: T | None) -> None:
        before = self.cache.pop(key, None) if obj is None else self.cache.get(key)
        if obj is not None:
            self.cache[key] = obj
        for handler in self.on_change:
            handler(key, before, obj)

    def _reached(self, version: int) -> None:
        self.resource_version = version
        for entry in [entry for entry in self._waiting if entry[0] <= version]:
            self._waiting.remove(entry)
            if not entry[1].done():
                entry[1].set_result(None)
