"""The records of a lab's processes on disk: which are alive, and how to end them.

A record `processes/<name>` is written before the process may run and removed after it has been
reaped, so after any crash the records name every process that may exist. A pid alone does not
identify a process, because the kernel reuses it; the pair (pid, start time in clock ticks since
boot) does (`netlab.process.identity`). A process is ended through a pidfd, whose identity is
checked after it is open, so a signal can never reach another process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from netlab.dataplane.names import EDGE
from netlab.errors import LabError
from netlab.files import write_whole
from netlab.process.identity import STOP_TIMEOUT, start_time
from netlab.state import StateDirectory

DAEMON = "daemon"  # the name of the lab's one long-lived process in its record
SOCKETS_PREFIX = "sockets-"  # in the title of a child of workloads, which has no record: it ends with its parent
CONTAINER_PREFIX, PROBE_PREFIX = COMMAND_PREFIXES = ("container-", "probe-")  # the prefix of the names of pods' own commands
KILL_TIMEOUT = 5.0  # seconds for the kernel to end a process on SIGKILL


@dataclass(frozen=True)
class ProcessRecord:
    """One process of a lab."""

    name: str
    pid: int
    start: int


def agent_name(host: str) -> str:
    """Return the name of the process that is the agent of a node or the edge."""
    return EDGE if host == EDGE else f"agent-{host}"


def network_namespace(pid: int) -> int | None:
    """Return the inode of a process's network namespace, None if it ended or is not accessible."""
    return inode(f"/proc/{pid}/ns/net")


def inode(path: str) -> int | None:
    """Return the inode of a file: a namespace that was recreated at a path has another one."""
    with suppress(OSError):
        return Path(path).stat().st_ino
    return None


def write_record(state: StateDirectory, record: ProcessRecord) -> None:
    """Record a process atomically."""
    write_whole(state.processes / record.name, json.dumps({"pid": record.pid, "start": record.start}))


def strike_off(state: StateDirectory, name: str) -> None:
    """Remove a record, if it exists."""
    (state.processes / name).unlink(missing_ok=True)


def read_record(state: StateDirectory, name: str) -> ProcessRecord | None:
    """Return the record of a name, None if there is none (or a crash left an empty one)."""
    try:
        content = json.loads((state.processes / name).read_text(encoding="utf-8"))
        return ProcessRecord(name, int(content["pid"]), int(content["start"]))
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def read_records(state: StateDirectory) -> tuple[ProcessRecord, ...]:
    """Return all records of a lab, in the order of their names."""
    if not state.processes.is_dir():
        return ()
    names = sorted(p.name for p in state.processes.iterdir() if not p.name.startswith("."))
    return tuple(record for name in names if (record := read_record(state, name)))


@contextmanager
def opened(record: ProcessRecord) -> Iterator[int | None]:
    """Yield a pidfd of exactly this process, None if it has ended."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        same = start_time(record.pid) == record.start
        yield descriptor if same and not has_ended(descriptor) else None
    finally:
        os.close(descriptor)


def has_ended(descriptor: int) -> bool:
    """Return whether the process of a pidfd has ended (a zombie has)."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def is_alive(record: ProcessRecord) -> bool:
    """Return whether the recorded process runs, and not another one with its pid."""
    with opened(record) as descriptor:
        return descriptor is not None


def send(record: ProcessRecord, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False if it has ended."""
    with opened(record) as descriptor:
        return descriptor is not None and _signal(descriptor, number)


def is_stopped(record: ProcessRecord) -> bool:
    """Return whether exactly this process is stopped (SIGSTOP): alive, but frozen until SIGCONT."""
    try:
        stat = Path(f"/proc/{record.pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    state = stat.rpartition(")")[2].split()[0]  # the name before it may hold anything (proc(5))
    return state == "T" and start_time(record.pid) == record.start


def stop(records: Iterable[ProcessRecord], timeout: float = STOP_TIMEOUT) -> None:
    """End processes: SIGTERM to all, `timeout` seconds in total, then SIGKILL. Returns after their end."""
    waiting = tuple(records)
    for number, seconds in ((signal.SIGTERM, timeout), (signal.SIGKILL, KILL_TIMEOUT)):
        waiting = _end(waiting, number, seconds)
        if not waiting:
            return
    names = ", ".join(f"{r.name} (pid {r.pid})" for r in waiting)
    raise LabError(
        f"These processes did not end on SIGKILL: {names}.",
        remedy="The kernel blocks them: see /proc/<pid>/stack and the kernel's log.",
    )


def _end(records: Sequence[ProcessRecord], number: signal.Signals, timeout: float) -> tuple[ProcessRecord, ...]:
    """Send a signal to each and return those that still run after `timeout` seconds."""
    poll, descriptors = select.poll(), {}
    try:
        for record in records:
            try:
                descriptor = os.pidfd_open(record.pid)
            except ProcessLookupError:
                continue
            descriptors[descriptor] = record
            if start_time(record.pid) != record.start or not _signal(descriptor, number):
                os.close(descriptor)
                del descriptors[descriptor]
                continue
            poll.register(descriptor, select.POLLIN)
        return _await_end(poll, dict(descriptors), timeout)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _signal(descriptor: int, number: signal.Signals) -> bool:
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    return True


def _await_end(poll: select.poll, running: dict[int, ProcessRecord], timeout: float) -> tuple[ProcessRecord, ...]:
    deadline = time.monotonic() + timeout
    while running and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            del running[descriptor]
    return tuple(running.values())
