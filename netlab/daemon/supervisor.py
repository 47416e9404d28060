"""Keeps the lab's own processes running: one agent and one workload server per node, and the edge.

Theory. `converge()` is given the processes that should run. One that is on record and alive is adopted as it is (it
may have been started by an earlier daemon), one that is missing is started, one that is not wanted any more is ended.
A process that ends by itself is started again: at once the first time, then after 0.5 s doubling to 30 s, so that a
process that cannot run does not eat the machine; a minute of life clears the account.
One that is left in a namespace that is not its host's any more (somebody removed that by hand) is ended likewise.
The data plane is the kernel's: none of these processes is in a packet's way, and their death changes nothing at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from netlab.node import processes
from netlab.node.spawn import Exit, ProcessSpawner, ProcessSpec
from netlab.runtime.identity import start_time
from netlab.runtime.statedir import StateDirectory

FIRST_DELAY, LONGEST_DELAY, FORGIVEN_AFTER = 0.5, 30.0, 60.0  # seconds
PATIENCE = 2.0  # seconds between SIGTERM and SIGKILL
log = logging.getLogger("netlab.daemon")


@dataclass
class Account:
    """How often a process ended lately, and when it was last started (event loop time)."""

    deaths: int = 0
    started: float = 0.0

    def delay(self, now: float) -> float:
        """Return how long to wait before the next start, and count the death."""
        if now - self.started > FORGIVEN_AFTER:
            self.deaths = 0
        self.deaths += 1
        return 0.0 if self.deaths == 1 else min(FIRST_DELAY * 2 ** (self.deaths - 2), LONGEST_DELAY)


class Supervisor:
    """The processes of one lab."""

    def __init__(self, spawner: ProcessSpawner, state: StateDirectory) -> None:
        self._spawner = spawner
        self._state = state
        self._wanted: dict[str, ProcessSpec] = {}
        self._accounts: dict[str, Account] = {}
        self._pids: dict[str, int] = {}
        self._homes: dict[str, int | None] = {}  # the namespace each was started or adopted in
        self._restarts: dict[str, asyncio.TimerHandle] = {}
        self._starting: set[asyncio.Task[None]] = set()
        spawner.subscribe(self._ended)

    async def converge(self, wanted: Mapping[str, ProcessSpec]) -> None:
        """Make the running processes those of `wanted`, by name."""
        extra = [name for name in self._wanted if name not in wanted]
        new = [spec for name, spec in wanted.items() if name not in self._wanted]
        self._wanted = dict(wanted)
        for spec in new:
            adopted = self._spawner.adopt(spec.name, spec.namespace)
            if adopted is None:
                await self._start(spec)
            else:
                self._pids[spec.name] = adopted
                self._homes[spec.name] = processes.inode(spec.namespace)
        await self._stop(extra)
        await self._end_homeless()

    async def _end_homeless(self) -> None:
        """End processes whose namespace was removed and made anew by hand: they come back in the new one."""
        lost = [name for name in self._pids if self._homes.get(name) != processes.inode(self._wanted[name].namespace)]
        records = [record for name in lost if (record := processes.read_record(self._state, name))]
        if records:
            log.warning("processes=%s state=homeless remedy=%r", ",".join(lost), "started again in the new namespace")
            await asyncio.to_thread(processes.stop, records, PATIENCE)

    def starts(self, name: str) -> Collection[int]:
        """Return when the process that runs under a name was started, nothing while none does."""
        start = start_time(self._pids[name]) if name in self._pids else None
        return () if start is None else (start,)

    async def _start(self, spec: ProcessSpec) -> None:
        account = self._accounts.setdefault(spec.name, Account())
        account.started = asyncio.get_running_loop().time()
        self._homes[spec.name] = processes.inode(spec.namespace)
        self._pids[spec.name] = await self._spawner.spawn(spec)

    async def _stop(self, names: list[str]) -> None:
        records = [record for name in names if (record := processes.read_record(self._state, name))]
        for name in names:
            self._accounts.pop(name, None)
            self._pids.pop(name, None)
            self._homes.pop(name, None)
            if timer := self._restarts.pop(name, None):
                timer.cancel()
        if records:
            await asyncio.to_thread(processes.stop, records, PATIENCE)

    def _ended(self, news: Exit) -> None:
        if self._pids.get(news.name) == news.pid:
            del self._pids[news.name]
        if news.name in self._wanted:
            self._start_later(news.name, f"ended pid={news.pid} code={news.code}")

    def _start_later(self, name: str, state: str) -> None:
        loop = asyncio.get_running_loop()
        account = self._accounts.setdefault(name, Account(started=loop.time()))
        delay = account.delay(loop.time())
        log.warning("process=%s state=%s restart-in=%gs", name, state, delay)
        self._restarts[name] = loop.call_later(delay, self._restart, name)

    def _restart(self, name: str) -> None:
        self._restarts.pop(name, None)
        if spec := self._wanted.get(name):
            task = asyncio.get_running_loop().create_task(self._start(spec), name=f"restart {name}")
            self._starting.add(task)
            task.add_done_callback(partial(self._started, name))

    def _started(self, name: str, task: asyncio.Task[None]) -> None:
        """Take in how a start went; one that broke is tried again as a process that has ended."""
        self._starting.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._start_later(name, f"not started: {error}")
