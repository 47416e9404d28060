"""A child process that is never lost: whatever happens once it is born, somebody knows its pid.

Signals are held back while it is started, or an interrupt between its birth and our knowing its pid would lose it. One that
came meanwhile is raised when the pid is known.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def child(spawn: Callable[[], int], end: Callable[[int], None]) -> Iterator[int]:
    """Yield the pid of the child that `spawn` starts, for a `with` block; `end` ends it when the block is left by an error."""
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        pid = spawn()
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            yield pid
        except BaseException:
            end(pid)
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
