"""The loop of all level-triggered code: a round when something changed, now and then, and again after a failure.

A round compares the whole wanted state with the actual one; without a difference it writes nothing. Every `RoundTimes.resync`
seconds a round also looks for changes by other processes (kube-proxy's syncPeriod).

A round contains what concerns one object (`netlab.containment`). One that breaks nevertheless is logged, once for each
message, and tried again: the loop continues.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from netlab.api.meta import Object
from netlab.api.wellknown import LOOK
from netlab.containment import Containment

log = logging.getLogger("netlab.controlplane")


@dataclass(frozen=True)
class RoundTimes:
    """When rounds follow, in seconds."""

    tick: float = 10.0  # between rounds without news: Leases need renewal
    resync: float = 30.0  # between two looks for damage
    retry: float = 1.0  # after a round that failed


ROUND_TIMES = RoundTimes()


def asked_to_look(before: Object | None, after: Object | None) -> bool:
    """Return whether a change of the Lab asks agents and edge to look for damage now (`wellknown.LOOK`)."""
    return _look(before) != _look(after)


def _look(lab: Object | None) -> str:
    return lab.metadata.annotations.get(LOOK, "") if lab else ""


async def run_rounds(
    changed: asyncio.Event, round_: Callable[[bool], Awaitable[bool]], times: RoundTimes = ROUND_TIMES
) -> NoReturn:
    """Run rounds for ever. A round is given whether to look for damage, and returns whether it could do all it wanted."""
    now = asyncio.get_running_loop().time
    resync_at = now() + times.resync
    broken = Containment(log, "loop", now)
    while True:
        changed.clear()
        resync, done = now() >= resync_at, False
        with broken.contain("round"):
            done = await round_(resync)
        if resync:
            resync_at = now() + times.resync
        try:
            async with asyncio.timeout(times.tick if done else times.retry):
                await changed.wait()
        except TimeoutError:
            continue
