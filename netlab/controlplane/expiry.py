"""Events expire one hour after their last write, as with Kubernetes' --event-ttl, and at most MOST_EVENTS are kept.

Kubernetes gives an Event a lease of etcd; here a sweep once a minute removes what is too old, also from the file, and the
oldest beyond the number (whoever may write Events could fill the memory with them within the hour). The time of the last
write is the creation timestamp until a sweep sees another version. After a restart it is the creation timestamp again: an
Event that was updated may expire early, never late.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from netlab.api.resources import EVENTS
from netlab.api.times import seconds_of
from netlab.containment import Contained, describe
from netlab.controlplane.registry import Registry
from netlab.controlplane.store import Key, Store, Stored

EVENT_TTL: Final = 3600.0
MOST_EVENTS: Final = 4096
SWEEP_SECONDS: Final = 60.0
log = logging.getLogger("netlab.controlplane")


class EventExpiry:
    """Removes old Events from a store, through the registry that keeps its indexes."""

    def __init__(self, store: Store, registry: Registry, clock: Callable[[], datetime], most_events: int = MOST_EVENTS) -> None:
        self._store = store
        self._most_events = most_events
        self._registry = registry
        self._clock = clock
        self._written: dict[Key, tuple[int, float]] = {}  # the version seen last, and when it was written

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            with Contained() as attempt:
                self.sweep()
            if attempt.error:
                log.warning("events=not expired error=%r", describe(attempt.error))
            await asyncio.sleep(SWEEP_SECONDS)

    def sweep(self) -> int:
        """Remove what has expired; return how many Events that were."""
        now = self._clock().timestamp()
        known = self._written
        self._written = {stored.key: _last_write(stored, known.get(stored.key), now) for stored in self._store.list(EVENTS)}
        by_age = sorted(self._written, key=lambda key: self._written[key][1])
        surplus = max(0, len(by_age) - self._most_events)
        expired = [key for place, key in enumerate(by_age) if place < surplus or now - self._written[key][1] >= EVENT_TTL]
        for key in expired:
            self._registry.expire(EVENTS, key)
            del self._written[key]
        if expired:
            log.info("events=expired count=%d left=%d", len(expired), len(self._written))
        return len(expired)


def _last_write(stored: Stored, known: tuple[int, float] | None, now: float) -> tuple[int, float]:
    """Return an Event's version and when it was written, as far as can be known; never a time to come."""
    if known is None:
        created = seconds_of(stored.body["metadata"].get("creationTimestamp", ""))
        return stored.version, min(now, created or now)
    version, written = known
    return stored.version, min(now, written) if version == stored.version else now
