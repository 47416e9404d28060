"""Start a lab's daemon and wait for its first word: it says `ready` on a pipe, or it died and its log says why.

The daemon is handed two descriptors: the pipe, and the lab's lock, which it keeps open until it is on record. So whoever
finds the lock free finds the record as well, also when the `up` in between was killed. A daemon that does not get as far
as its first word is ended here: nobody else could know of it.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from pathlib import Path

from netlab.errors import LabError
from netlab.runtime import logs
from netlab.runtime.statedir import StateDirectory

READY = b"ready\n"
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_DESCRIPTOR, LOCK_DESCRIPTOR = 3, 4  # as the daemon sees them
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "MALLOC_ARENA_MAX": "1",  # one heap for all threads: a lab has nine processes, and each would keep several
    "SSL_CERT_FILE": os.devnull,  # a lab's processes trust the lab's authority alone; the machine's 150 stay unread
    "SSL_CERT_DIR": os.devnull,
}


def start_daemon(state: StateDirectory, timeout: float, lock: int) -> None:
    """Start `python -m netlab.daemon` detached from the terminal and return when its API server answers.

    `lock`: the descriptor of the lab's lock. Raises LabError with the end of its log when the daemon dies or says nothing
    within `timeout` seconds; it is ended then, and when we are interrupted.
    """
    log = state.log("daemon")
    reader, writer = os.pipe()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)  # or one between fork and `pid =` would lose the child
    try:
        pid = _spawn(state, log, writer, lock)
        os.close(writer)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)  # an interrupt that came meanwhile is raised here
            said = _first_word(reader, timeout)
        except BaseException:
            _end(pid)
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        os.close(reader)
    if said == READY:
        return
    _end(pid)
    what = f"said nothing for {timeout:.3g} s" if said is None else "ended"
    raise LabError(f"the daemon of lab {state.lab!r} (pid {pid}) {what} before its API server answered", remedy=logs.tail(log))


def _spawn(state: StateDirectory, log: Path, writer: int, lock: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    ready, held = high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (writer, lock)]  # clear of 0 to 4
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "netlab.daemon", str(state.root)],
            {**os.environ, **ENVIRONMENT},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, ready, READY_DESCRIPTOR),
                (os.POSIX_SPAWN_DUP2, held, LOCK_DESCRIPTOR),
            ],
            setsid=True,
            setsigmask=[],
        )
    finally:
        for descriptor in high:
            os.close(descriptor)


def _end(pid: int) -> None:
    """End our own child, which nobody has waited for: the number is still its."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _first_word(reader: int, timeout: float) -> bytes | None:
    """Return what the daemon wrote, b"" when it closed the pipe, None when time ran out."""
    ready, _, _ = select.select([reader], [], [], timeout)
    return os.read(reader, len(READY)) if ready else None
