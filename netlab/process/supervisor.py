"""Keeps the lab's own processes running: one agent and one workload server per node, and the edge.

Theory. `converge()` receives the processes that should run. It adopts a recorded process that is
alive (an earlier daemon may have started it), starts a missing one, and ends one that is no longer
wanted. A process that ends by itself is restarted: at once the first time, then after 0.5 s,
doubling to 30 s, so that a process that cannot run does not overload the machine; the delay is
reset after a minute of life. A process is ended and restarted if an earlier daemon started it with
a token or an authority that has been replaced since, or if its socket was removed. A process is
homeless if its namespace is no longer its host's, because that was removed by hand, or if the
fabric was replaced: then its connection to the API server is dead, and no packet shows it.
`end_homeless` ends such processes; they restart in the present namespace. A stopped process
(SIGSTOP) is logged once; `resume` resumes it. The data plane is in the kernel: no packet passes
these processes, and their death has no immediate effect.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from netlab.process import records
from netlab.process.identity import start_time
from netlab.process.records import ProcessRecord
from netlab.process.spawner import Exit, ProcessSpawner, ProcessSpec
from netlab.state import StateDirectory

FIRST_DELAY, LONGEST_DELAY, FORGIVEN_AFTER = 0.5, 30.0, 60.0  # seconds
WITHOUT_API = frozenset({"workloads"})  # entries without a connection to the API server
Home = tuple[int | None, int | None]  # the inodes of a process's namespace and of the fabric's
log = logging.getLogger("netlab.daemon")


@dataclass
class Account:
    """How often a process ended recently, and when it last started (event loop time)."""

    deaths: int = 0
    started: float = 0.0

    def delay(self, now: float) -> float:
        """Return the delay before the next start, and count the end."""
        if now - self.started > FORGIVEN_AFTER:
            self.deaths = 0
        self.deaths += 1
        return 0.0 if self.deaths == 1 else min(FIRST_DELAY * 2 ** (self.deaths - 2), LONGEST_DELAY)


class Supervisor:
    """The processes of one lab."""

    def __init__(self, spawner: ProcessSpawner, state: StateDirectory, fabric: str = "") -> None:
        """Supervise; `fabric` is the path of the namespace through which processes reach the API server."""
        self._spawner = spawner
        self._state = state
        self._wanted: dict[str, ProcessSpec] = {}
        self._accounts: dict[str, Account] = {}
        self._pids: dict[str, int] = {}
        self._fabric = fabric
        self._homes: dict[str, Home] = {}  # the namespaces in which each was started or adopted
        self._stopped: frozenset[str] = frozenset()  # those that were found stopped
        self._restarts: dict[str, asyncio.TimerHandle] = {}
        self._starting: dict[str, asyncio.Task[None] | None] = {}  # by name; the task of a start that no caller awaits
        self._stillborn: set[int] = set()  # pids whose end was reported before their start
        spawner.subscribe(self._ended)

    async def converge(self, wanted: Mapping[str, ProcessSpec]) -> None:
        """Start and end processes so that exactly those of `wanted` run, by name."""
        extra = [name for name in self._wanted if name not in wanted]
        self._wanted = dict(wanted)
        await self._stop(extra)
        await self.end_homeless()
        for spec in wanted.values():
            if spec.name in self._pids or spec.name in self._restarts or spec.name in self._starting:
                continue
            if self._is_outdated(spec):
                await self._end(spec.name)
            adopted = self._spawner.adopt(spec.name, spec.namespace)
            if adopted is None:
                await self._start(spec)
            else:
                self._pids[spec.name] = adopted
                self._homes[spec.name] = self._home(spec)
        self._note_stopped()

    def _is_outdated(self, spec: ProcessSpec) -> bool:
        """Return whether a recorded process is older than its files, or has lost its socket."""
        record = self._state.processes / spec.name
        with suppress(FileNotFoundError):
            if spec.socket and not Path(spec.socket).is_socket():
                return record.exists()
            started = record.stat().st_mtime
            return any(Path(path).stat().st_mtime > started for path in spec.reads)
        return False

    async def _end(self, name: str) -> None:
        if record := records.read_record(self._state, name):
            log.warning("process=%s pid=%d state=outdated remedy=%r", name, record.pid, "restarted with the present files")
            await asyncio.to_thread(records.stop, [record])
            records.strike_off(self._state, name)

    async def end_homeless(self) -> None:
        """End processes whose namespace was replaced.

        The next `converge` starts them in the present one.
        """
        lost = [name for name in self._pids if self._homes.get(name) != self._home(self._wanted[name])]
        present = [record for name in lost if (record := self._record(name))]
        if present:
            log.warning("processes=%s state=homeless remedy=%r", ",".join(lost), "restarted in the new namespace")
            for name in lost:
                del self._pids[name]  # so that its end is not handled as unexpected
            await asyncio.to_thread(records.stop, present)

    def _record(self, name: str) -> ProcessRecord | None:
        """Return the record of a started or adopted process; its file may be lost."""
        pid = self._pids.get(name)
        start = None if pid is None else start_time(pid)
        return records.read_record(self._state, name) or (ProcessRecord(name, pid, start) if pid and start else None)

    def _home(self, spec: ProcessSpec) -> Home:
        fabric = "" if spec.entry in WITHOUT_API else self._fabric
        return records.inode(spec.namespace), records.inode(fabric) if fabric else None

    def resume(self) -> None:
        """Resume all stopped processes of the lab."""
        ours = filter(None, (self._record(name) for name in self._pids))
        for record in {*records.read_records(self._state), *ours}:
            if records.is_stopped(record) and records.send(record, signal.SIGCONT):
                log.warning("process=%s pid=%d state=resumed", record.name, record.pid)

    def _note_stopped(self) -> None:
        present = filter(None, (self._record(name) for name in self._pids))
        stopped = frozenset(record.name for record in present if records.is_stopped(record))
        for name in stopped - self._stopped:
            log.warning("process=%s state=stopped remedy=%r", name, "netlab up FILE, or kill -CONT")
        self._stopped = stopped

    def starts(self, name: str) -> Collection[int]:
        """Return the start time of the running process of a name, nothing if there is none."""
        start = start_time(self._pids[name]) if name in self._pids else None
        return () if start is None else (start,)

    async def _start(self, spec: ProcessSpec) -> None:
        account = self._accounts.setdefault(spec.name, Account())
        account.started = asyncio.get_running_loop().time()
        self._homes[spec.name] = self._home(spec)
        self._starting.setdefault(spec.name, None)
        try:
            pid = await self._spawner.spawn(spec)
        finally:
            self._starting.pop(spec.name, None)
        if pid in self._stillborn:
            self._stillborn.discard(pid)
        else:
            self._pids[spec.name] = pid

    async def _stop(self, names: list[str]) -> None:
        present = [record for name in names if (record := self._record(name))]
        for name in names:
            self._accounts.pop(name, None)
            self._pids.pop(name, None)
            self._homes.pop(name, None)
            if timer := self._restarts.pop(name, None):
                timer.cancel()
        if present:
            await asyncio.to_thread(records.stop, present)

    def _ended(self, news: Exit) -> None:
        """Restart a process that ended by itself; ignore the end of one that was ended here."""
        spec = self._wanted.get(news.name)
        if spec is None or (news.name not in self._starting and self._pids.get(news.name) != news.pid):
            return
        if self._pids.pop(news.name, None) is None:
            self._stillborn.add(news.pid)
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
            task = self._starting[name] = asyncio.get_running_loop().create_task(self._start(spec), name=f"restart {name}")
            task.add_done_callback(partial(self._started, name))

    def _started(self, name: str, task: asyncio.Task[None]) -> None:
        """Handle a failed start like the end of a process."""
        if not task.cancelled() and (error := task.exception()):
            self._start_later(name, f"not started: {error}")
