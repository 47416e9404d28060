"""Health: when a node counts as able to take traffic, how often it is asked, and the tasks that ask.

Rules (the first two are pure functions; `Checker` performs them):
1. One success makes healthy. A healthy node becomes unhealthy by the second failure in a row, so that one lost packet
   moves nobody. Before the first success a node is unhealthy.
2. Everybody is asked at once, then every second. Faster, every 100 ms, for a second after something changed that may
   change the answer, and as long as a Service has no healthy node, ten seconds at most: a new Service serves quickly.
3. Checks run at the same time, a bounded number of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from netlab.edge.frontends import Check

log = logging.getLogger("netlab.edge")
FAILURES_TO_UNHEALTHY = 2


@dataclass(frozen=True)
class Pace:
    """How often nodes are checked, in seconds, and how many checks run at the same time."""

    interval: float = 1.0  # between two checks of one node
    fast_interval: float = 0.1
    fast_after_change: float = 1.0  # how long checks are fast after a change
    fast_without_backend: float = 10.0  # how long checks are fast while no node is healthy
    concurrent_checks: int = 64


PACE = Pace()


@dataclass(frozen=True)
class Health:
    """What is known of one check."""

    healthy: bool = False
    failures: int = 0
    asked: bool = False

    def after(self, success: bool) -> Health:
        """Return the health after one more answer."""
        if success:
            return Health(healthy=True, asked=True)
        failures = self.failures + 1
        return Health(self.healthy and failures < FAILURES_TO_UNHEALTHY, failures, asked=True)


def pause(*, since_change: float, has_backend: bool, pace: Pace = PACE) -> float:
    """Return how long to wait until the next check, `since_change` seconds after the last change."""
    fast = since_change < (pace.fast_after_change if has_backend else pace.fast_without_backend)
    return pace.fast_interval if fast else pace.interval


class Checker:
    """Keeps asking. `changed` is set when a node's health changed, or was learnt for the first time.

    Usage: `watch({"default/blue 80/TCP": {check, ...}})` whenever the wanted checks change, `hurry()` when something
    happened that may change answers, `is_healthy(check)`, `await close()`.
    """

    def __init__(self, probe: Callable[[Check], Awaitable[bool]], changed: asyncio.Event, pace: Pace = PACE) -> None:
        self._probe = probe
        self._pace = pace
        self._changed = changed
        self._health: dict[Check, Health] = {}
        self._groups: dict[Check, tuple[frozenset[Check], ...]] = {}
        self._tasks: dict[Check, asyncio.Task[None]] = {}
        self._bound = asyncio.Semaphore(pace.concurrent_checks)
        self._hurry = asyncio.Event()
        self._change_time = 0.0

    @property
    def all_asked(self) -> bool:
        """Every check has had an answer."""
        return all(health.asked for health in self._health.values())

    def is_healthy(self, check: Check) -> bool:
        """Tell whether the node asked by this check may get traffic."""
        return self._health.get(check, Health()).healthy

    def was_asked(self, check: Check) -> bool:
        """Tell whether the node has answered this check, or failed to."""
        return self._health.get(check, Health()).asked

    def watch(self, groups: Mapping[str, Iterable[Check]]) -> None:
        """Ask these from now on, and nobody else. A group is one port of a Service."""
        members: dict[Check, list[frozenset[Check]]] = {}
        for group in map(frozenset, groups.values()):
            for check in group:
                members.setdefault(check, []).append(group)
        self._groups = {check: tuple(found) for check, found in members.items()}
        for check in self._tasks.keys() - members.keys():
            self._tasks.pop(check).cancel()
            del self._health[check]
        for check in members.keys() - self._tasks.keys():
            self._health[check] = Health()
            self._tasks[check] = asyncio.create_task(self._keep_asking(check), name=str(check))

    def hurry(self) -> None:
        """Ask everybody now: what they answer may have changed."""
        self._change_time = asyncio.get_running_loop().time()
        self._hurry.set()
        self._hurry = asyncio.Event()

    async def close(self) -> None:
        """Stop asking."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._health.clear()

    async def _keep_asking(self, check: Check) -> None:
        while True:
            async with self._bound:
                hurry = self._hurry
                success = await self._probe(check)
            self._note(check, success)
            try:
                async with asyncio.timeout(self._pause(check)):
                    await hurry.wait()
            except TimeoutError:
                continue

    def _note(self, check: Check, success: bool) -> None:
        before = self._health[check]
        after = before.after(success)
        self._health[check] = after
        if (after.healthy, after.asked) != (before.healthy, before.asked):
            log.info("check=%r healthy=%s", str(check), after.healthy)
            self._changed.set()

    def _pause(self, check: Check) -> float:
        now = asyncio.get_running_loop().time()
        has_backend = all(any(map(self.is_healthy, group)) for group in self._groups[check])
        return pause(since_change=now - self._change_time, has_backend=has_backend, pace=self._pace)
