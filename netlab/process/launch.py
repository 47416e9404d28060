"""Start a lab's daemon: it loads while `up` prepares the lab, gets its order, reports `ready`.

    up                                                        daemon
    start it ---------------------------------------------->  import what its runtime needs (0.35 s)
    images, record, networks, certificates                    ...
    order: the lab's record, lock, log, loopback socket --->  run as that lab's daemon
    wait <--------------------------------------------------  ready

Before its order a daemon has no lab and has created nothing; it ends when the socket between the
two closes, as happens if `up` fails or is killed. With the order it receives three descriptors: the
lab's lock, which it keeps open until it is on record, so a process that finds the lock free also
finds the record, even if `up` was killed in between; the lab's log; and the socket of the API
server on the machine's loopback, which it may be unable to create itself
(`netlab.kernel.user_namespace`). `up` ends a daemon that does not report `ready`, because no other
process can find it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from netlab.errors import LabError
from netlab.process import logs
from netlab.process.children import child
from netlab.state import StateDirectory

READY = b"ready"
CHANNEL = 3  # the daemon's descriptor of the socket
LONGEST_ORDER = 8192  # bytes; a path has 4096
LOOPBACK = "127.0.0.1"
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "MALLOC_ARENA_MAX": "1",  # one heap for all threads: a lab has nine processes, and each would have several
    "SSL_CERT_FILE": os.devnull,  # a lab's processes trust the lab's authority only, and do not load the machine's 150
    "SSL_CERT_DIR": os.devnull,
}
log = logging.getLogger("netlab.process")


@dataclass(frozen=True)
class Handed:
    """What `up` passes on: the lab's lock, and a TCP socket of the machine's network namespace."""

    lock: int
    loopback: socket.socket


@dataclass(frozen=True)
class Order:
    """What the daemon receives: the root of the lab's record, and descriptors to close."""

    root: Path
    lock: int
    loopback: int


# ---- the side of `up`
class LoadingDaemon:
    """A daemon without a lab."""

    def __init__(self, pid: int, channel: socket.socket, output: IO[bytes]) -> None:
        self._pid = pid
        self._channel = channel
        self._output = output

    def begin(self, state: StateDirectory, handed: Handed, timeout: float) -> None:
        """Make it the daemon of a lab; returns when its API server answers.

        Raises LabError with the end of its log if it exits or does not respond within `timeout`
        seconds.
        """
        _listen(handed.loopback, _known_port(state))
        written = os.open(state.log("daemon"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            descriptors = [handed.lock, written, handed.loopback.fileno()]
            socket.send_fds(self._channel, [os.fsencode(state.root)], descriptors)
            said = self._first_word(timeout)
        except ConnectionError:  # it has exited
            said = b""
        finally:
            os.close(written)
        if said == READY:
            return
        what = f"did not respond within {timeout:.3g} s" if said is None else "exited before it was ready"
        message = f"the daemon of lab {state.lab!r} (pid {self._pid}) {what}"
        raise LabError(message, remedy=self._last_words() or logs.tail(state.log("daemon")))

    def _first_word(self, timeout: float) -> bytes | None:
        """Return the daemon's answer, b"" if it closed the socket, None after the timeout."""
        ready, _, _ = select.select([self._channel], [], [], timeout)
        return self._channel.recv(len(READY)) if ready else None

    def _last_words(self) -> str:
        """Return the output that it wrote before it had a log."""
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").splitlines()
        return "\n".join(["Its output:", *(f"  {line}" for line in lines[-logs.TAIL :])]) if lines else ""


@contextmanager
def loading_daemon(runtime: str) -> Iterator[LoadingDaemon]:
    """Start `python -m netlab.daemon RUNTIME` detached from the terminal, for a `with` block.

    The block calls `begin`. An error in the block ends the daemon.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, tempfile.TemporaryFile() as output, child(partial(_spawn, runtime, theirs, output), _end) as pid:
        theirs.close()
        yield LoadingDaemon(pid, ours, output)


def _spawn(runtime: str, channel: socket.socket, output: IO[bytes]) -> int:
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in (output.fileno(), channel.fileno())]
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "netlab.daemon", runtime],
            {**os.environ, **ENVIRONMENT},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, high[0], 1),
                (os.POSIX_SPAWN_DUP2, high[0], 2),
                (os.POSIX_SPAWN_DUP2, high[1], CHANNEL),  # above 0 to 3, so that no needed descriptor is closed
            ],
            setsid=True,
            setsigmask=[],
        )
    finally:
        for descriptor in high:
            os.close(descriptor)


def _end(pid: int) -> None:
    """End this process's child; its pid is valid because no code has waited for it."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _known_port(state: StateDirectory) -> int:
    """Return the port of an earlier daemon, so that kubeconfig files stay valid.

    Return 0 for any free one.
    """
    endpoint = state.read_endpoint()
    return endpoint.loopback if endpoint else 0


def _listen(listener: socket.socket, port: int) -> None:
    """Listen on loopback; use any free port if another process has taken the known one."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError:
        if not port:
            raise
        log.warning("port=%d state=taken remedy=%r", port, "netlab uses a free port and writes it to the kubeconfig")
        listener.bind((LOOPBACK, 0))
    listener.listen(128)


# ---- the daemon's side
def receive_order() -> Order | None:
    """Wait for the order of `up`, then redirect the output to the lab's log.

    Return None if `up` has exited.
    """
    with socket.socket(fileno=os.dup(CHANNEL)) as channel:
        words, descriptors, _, _ = socket.recv_fds(channel, LONGEST_ORDER, 3, socket.MSG_CMSG_CLOEXEC)
    if not words:
        return None
    lock, written, loopback = descriptors
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.close(written)
    return Order(Path(os.fsdecode(words)), lock, loopback)


def say_ready() -> None:
    """Report `ready` to `netlab up`, unless it has exited."""
    try:
        os.write(CHANNEL, READY)
    except ConnectionError as error:
        log.info("waiting=none error=%r", str(error))
    os.close(CHANNEL)
