"""The identity of a process, for Leases and records.

A pid alone does not identify a process: the kernel reuses it, and a container has its own pids. The
start time of a process, in clock ticks since boot, is the same in all namespaces of the machine,
and differs between two processes that did the same work one after the other.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

START_FIELD = 22  # `starttime` in proc(5), counted from 1
STOP_TIMEOUT = 2.0  # seconds between SIGTERM and SIGKILL
FIELDS_BEFORE_STATE = 2  # pid and (comm); comm may hold spaces and brackets


def start_time(pid: int) -> int | None:
    """Return the start time of a process, in clock ticks since boot; None if it does not exist."""
    return _start_time(str(pid))


def own_start_time() -> int:
    """Return the start time of this process."""
    return _start_time("self") or 0


def _start_time(process: str) -> int | None:
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return int(fields[START_FIELD - FIELDS_BEFORE_STATE - 1])


def end(pid: int, start: int, timeout: float = STOP_TIMEOUT) -> None:
    """End just this process: SIGTERM, and SIGKILL when it has not ended after `timeout` seconds."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if start_time(pid) == start:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                if not select.select([descriptor], [], [], timeout)[0]:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def children(pid: int) -> tuple[int, ...]:
    """Return the children of a process's main thread, none if it has ended."""
    try:
        return tuple(int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return ()
