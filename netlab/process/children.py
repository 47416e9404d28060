"""Start a child process that is never lost: as soon as it exists, its parent has its pid.

Signals are blocked during the start, because an interrupt between the fork and the return of the
pid would lose the child. A signal that arrives in that time is raised after the start.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def child(spawn: Callable[[], int], end: Callable[[int], None]) -> Iterator[int]:
    """Yield the pid of the child that `spawn` starts; an error in the `with` block calls `end`."""
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
