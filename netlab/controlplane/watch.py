"""Watches: a position in a kind's History, read as the client asked for it.

- A selector turns changes into what the client sees: an object that begins to match is ADDED, one that no longer
  matches is DELETED (with its last matching state), whatever really happened to it.
- A bookmark means "you have seen everything up to here". It is sent when nothing else was for an interval, which also
  distinguishes a dead connection from an idle one, and once after the initial events of a WatchList request.
- 410 Expired ends a watch whose start, or whose reader, is older than the history.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Final

from netlab.api.resources import Json
from netlab.controlplane.bounds import whole_number
from netlab.controlplane.selectors import Predicate
from netlab.controlplane.status import AnyResource, bad_request, expired
from netlab.controlplane.store import Event, Store, Stored, at_version, event_line, render
from netlab.topology.problem import printable

BOOKMARK_INTERVAL: Final = 10.0  # seconds; Kubernetes' is about a minute, netlab's clients take silence for a dead server
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
Batch = list[Event]


@dataclass(frozen=True)
class WatchOptions:
    """The parameters of a watch request. `send_initial_events` None: decided by the resourceVersion, as before WatchList."""

    resource_version: str = ""
    namespace: str = ""
    selection: Predicate | None = None
    bookmarks: bool = True
    send_initial_events: bool | None = None
    interval: float = BOOKMARK_INTERVAL


def parse_version(text: str) -> int:
    """Return a resourceVersion as a number; "" and "0" mean any."""
    version = whole_number(text or "0")
    if version is None or version < 0:
        words = "it must be a whole number, as returned by the server"
        raise bad_request(f'resourceVersion: Invalid value: "{printable(text)}": {words}')
    return version


def selected(event: Event, selection: Predicate) -> Event | None:
    """Return how a change looks to a client that selects, None when it looks like nothing."""
    now = event.type != "DELETED" and selection(event.stored.body)
    before = event.previous is not None and selection(event.previous.body)
    if now and before:
        return event
    if now:
        return event if event.type == "ADDED" else Event.of("ADDED", event.stored, event.previous)
    if not before or event.previous is None:
        return None
    if event.type == "DELETED":
        return event
    return Event.of("DELETED", render(at_version(event.previous.body, event.stored.version)), event.previous)


def bookmark(resource: AnyResource, version: int, *, initial_end: bool = False) -> Event:
    """Return a bookmark event: an otherwise empty object."""
    meta: Json = {"resourceVersion": str(version), "creationTimestamp": None}
    if initial_end:
        meta["annotations"] = {INITIAL_EVENTS_END: "true"}
    stored = render({"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta})
    return Event("BOOKMARK", stored, None, event_line("BOOKMARK", stored.raw))


def _selection(options: WatchOptions) -> Predicate | None:
    wanted, namespace = options.selection, options.namespace
    if not namespace:
        return wanted
    return lambda body: body["metadata"].get("namespace") == namespace and (wanted is None or wanted(body))


async def watch(store: Store, resource: AnyResource, options: WatchOptions) -> AsyncIterator[Batch]:
    """Yield batches of changes for ever; raises ApiError 410 when the client must list again."""
    history, selection = store.history(resource), _selection(options)
    version = parse_version(options.resource_version)
    initial = options.send_initial_events if options.send_initial_events is not None else version == 0
    if version > store.version:
        raise expired(version, store.version)  # a number from another store: it has no meaning here
    position = history.end if initial or version == 0 else history.after(version)
    if initial:
        yield _initial(store, resource, options, selection)
    clock = asyncio.get_running_loop().time
    due = clock() + options.interval
    while True:
        events = history.read(position)
        position += len(events)
        if selection is not None:
            events = [seen for event in events if (seen := selected(event, selection)) is not None]
        if not events and options.bookmarks and position == history.end and clock() >= due:
            events = [bookmark(resource, store.version)]
        if events:
            yield events
            due = clock() + options.interval
        elif position == history.end:
            await _until(history.grow(), due if options.bookmarks else None)


async def _until(change: Awaitable[None], deadline: float | None) -> None:
    """Wait for a change, no longer than until a deadline of the loop's clock."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await change


def _initial(store: Store, resource: AnyResource, options: WatchOptions, selection: Predicate | None) -> list[Event]:
    objects: list[Stored] = [s for s in store.list(resource) if selection is None or selection(s.body)]
    events = [Event.of("ADDED", stored, None) for stored in objects]
    if options.send_initial_events and options.bookmarks:
        events.append(bookmark(resource, store.version, initial_end=True))
    return events
