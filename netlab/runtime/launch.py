"""Start a lab's daemon and wait for its first word: it says `ready` on a pipe, or it died and its log says why."""

from __future__ import annotations

import os
import select
import sys

from netlab.errors import LabError
from netlab.runtime import logs
from netlab.runtime.statedir import StateDirectory

READY = b"ready\n"
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "MALLOC_ARENA_MAX": "1",  # one heap for all threads: a lab has nine processes, and each would keep several
    "SSL_CERT_FILE": os.devnull,  # a lab's processes trust the lab's authority alone; the machine's 150 stay unread
    "SSL_CERT_DIR": os.devnull,
}


def start_daemon(state: StateDirectory, timeout: float) -> None:
    """Start `python -m netlab.daemon` detached from the terminal and return when its API server answers.

    Raises LabError with the end of its log when it dies or says nothing within `timeout` seconds.
    """
    reader, writer = os.pipe()
    log = state.log("daemon")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "netlab.daemon", str(state.root)],
        {**os.environ, **ENVIRONMENT},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, writer, 3),
        ],
        setsid=True,
    )
    os.close(writer)
    try:
        said = _first_word(reader, timeout)
    finally:
        os.close(reader)
    if said == READY:
        return
    what = "said nothing" if said is None else "ended"
    raise LabError(f"the daemon of lab {state.lab!r} (pid {pid}) {what} before its API server answered", remedy=logs.tail(log))


def _first_word(reader: int, timeout: float) -> bytes | None:
    """Return what the daemon wrote, b"" when it closed the pipe, None when time ran out."""
    ready, _, _ = select.select([reader], [], [], timeout)
    return os.read(reader, len(READY)) if ready else None
