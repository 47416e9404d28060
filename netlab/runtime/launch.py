"""Start a lab's daemon and wait for its first word: it says `ready` on a pipe, or it died and its log says why.

The daemon is handed three descriptors: the pipe; the lab's lock, which it keeps open until it is on record; and the socket
of the API server on the machine's loopback, which it may not be able to make itself (`netlab.kernel.user_namespace`). So
whoever finds the lock free finds the record as well, also when the `up` in between was killed. A daemon that does not get
as far as its first word is ended here: nobody else could know of it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from netlab.errors import LabError
from netlab.runtime import logs
from netlab.runtime.statedir import StateDirectory

READY = b"ready\n"
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_DESCRIPTOR, LOCK_DESCRIPTOR, LOOPBACK_DESCRIPTOR = 3, 4, 5  # as the daemon sees them
LOOPBACK = "127.0.0.1"
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "MALLOC_ARENA_MAX": "1",  # one heap for all threads: a lab has nine processes, and each would keep several
    "SSL_CERT_FILE": os.devnull,  # a lab's processes trust the lab's authority alone; the machine's 150 stay unread
    "SSL_CERT_DIR": os.devnull,
}
log = logging.getLogger("netlab.runtime")


@dataclass(frozen=True)
class Handed:
    """What the daemon is handed: the descriptor of the lab's lock, a new TCP socket of the machine's network namespace."""

    lock: int
    loopback: socket.socket


def start_daemon(state: StateDirectory, timeout: float, handed: Handed) -> None:
    """Start `python -m netlab.daemon` detached from the terminal and return when its API server answers.

    Raises LabError with the end of its log when the daemon dies or says nothing within `timeout` seconds; it is ended then,
    and when we are interrupted.
    """
    _listen(handed.loopback, _known_port(state))
    output = state.log("daemon")
    reader, writer = os.pipe()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)  # or one between fork and `pid =` would lose the child
    try:
        pid = _spawn(state, output, (writer, handed.lock, handed.loopback.fileno()))
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
    raise LabError(f"the daemon of lab {state.lab!r} (pid {pid}) {what} before its API server answered", remedy=logs.tail(output))


def _known_port(state: StateDirectory) -> int:
    """Return the port of an earlier daemon, so that kubeconfig files stay good; 0 for any free one."""
    if not state.api.exists():
        return 0
    port: int = msgspec.json.decode(state.api.read_bytes())["loopback"]
    return port


def _listen(listener: socket.socket, port: int) -> None:
    """Listen on loopback; a known port that somebody took meanwhile gives way to any free one."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError:
        if not port:
            raise
        log.warning("port=%d state=taken remedy=%r", port, "another one is used and written to the kubeconfig")
        listener.bind((LOOPBACK, 0))
    listener.listen(128)


def _spawn(state: StateDirectory, output: Path, descriptors: Sequence[int]) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in descriptors]  # clear of 0 to 5
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "netlab.daemon", str(state.root)],
            {**os.environ, **ENVIRONMENT},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(high, READY_DESCRIPTOR)),
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
