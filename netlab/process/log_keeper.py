"""The lab's log keeper: a process that reads what pods' commands write, into logs of limited size.

A command writes to a pipe. If it writes faster than the keeper stores, the pipe is full and the
command waits; no watcher of a file could be fast enough (`yes` writes gigabytes in a second). One
process serves all commands with epoll: it reads at most 64 KiB of each that has written, then of
the next.

Nothing that dies takes a command with it:
  - The pipe has a name, `pods/<uid>/<container>.pipe`. The command has it open for reading and
    writing, so that it always has a reader: no write fails because the keeper has ended. It waits
    when the pipe is full, until the next keeper reads.
  - The keeper is not the daemon's child to end: it reads on when the daemon and its spawner are
    killed. The next spawner connects to its socket. A spawner that finds no keeper, or loses it,
    starts one; that finds the pipes by their names.
  - A pipe reaches the keeper as a descriptor, sent before the command starts (`log_pipes`): also
    the words of a command that ends at once are kept.

It ends when no spawner is connected and no command is left. What a command wrote while there was
no keeper, and that is still in the pipe when the command ends, is lost: 64 KiB at most.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netlab.process.log_files import CONTAINER, Limits, RotatingFile
from netlab.serving.descriptors import raise_limit
from netlab.state import StateDirectory

NAME: Final = "log-keeper"  # of its record, its socket and its own log
PIPE_SUFFIX: Final = ".pipe"
CHUNK: Final = 1 << 16
LONGEST_NAME: Final = 4096  # bytes of a path
NICENESS: Final = 5  # commands that flood their logs slow down before the lab does
FULL: Final = "free disk space; until then the command's output is dropped"
log = logging.getLogger("netlab.process")


def pipe_of(log_file: Path) -> Path:
    """Return the pipe through which the lines of a log come."""
    return log_file.with_suffix(PIPE_SUFFIX)


def log_of(pipe: Path) -> Path:
    """Return the log that is written from a pipe."""
    return pipe.with_suffix(".log")


def open_to_read(pipe: Path) -> int:
    """Return a descriptor that reads a pipe and never waits."""
    return os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


@dataclass
class _Source:
    """A pipe that is read, and the log it goes to."""

    output: RotatingFile
    lost: int = 0  # bytes, as last reported


class LogKeeper:
    """Reads pipes into logs. `run` returns when nobody is left to read for."""

    def __init__(self, listener: socket.socket, limits: Limits = CONTAINER) -> None:
        self._listener = listener
        listener.setblocking(False)
        self._limits = limits
        self._spawners: dict[int, socket.socket] = {}
        self._sources: dict[int, _Source] = {}
        self._poll = select.epoll()
        self._poll.register(listener, select.EPOLLIN)

    def resume(self, state: StateDirectory) -> None:
        """Read the pipes that an earlier keeper has left."""
        for pipe in state.root.glob(f"pods/*/*{PIPE_SUFFIX}"):
            with suppress(OSError):  # the pod has just been removed
                reading = open_to_read(pipe)
                self.add(log_of(pipe), reading)
                self._read(reading)  # epoll does not report a pipe that had no writer when it was opened

    def add(self, log_file: Path, reading: int) -> None:
        """Read a pipe from now on. A log has one source: the former, of the same pipe, is closed."""
        for descriptor in [known for known, source in self._sources.items() if source.output.path == log_file]:
            self._drop(descriptor)
        self._sources[reading] = _Source(RotatingFile(log_file, self._limits))
        self._poll.register(reading, select.EPOLLIN)

    def run(self) -> None:
        """Serve until no spawner is connected and no pipe is open."""
        first = True
        while first or self._spawners or self._sources:
            first = False
            for descriptor, _ in self._poll.poll():
                if descriptor in self._sources:
                    self._read(descriptor)
                elif descriptor in self._spawners:
                    self._receive(descriptor)
                else:
                    self._accept()

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._spawners[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)

    def _receive(self, descriptor: int) -> None:
        connection = self._spawners[descriptor]
        try:
            name, descriptors, _, _ = socket.recv_fds(connection, LONGEST_NAME, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionError:
            name, descriptors = b"", []
        if not name:
            self._poll.unregister(descriptor)
            self._spawners.pop(descriptor).close()
        for reading in descriptors:
            self.add(Path(os.fsdecode(name)), reading)

    def _read(self, descriptor: int) -> None:
        source = self._sources[descriptor]
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return
        if not data:  # nobody has the pipe open for writing
            self._drop(descriptor)
            return
        source.output.append(data)
        if source.output.lost and not source.lost:
            log.warning(
                "log=%s state=full remedy=%r",
                source.output.path,
                FULL,
            )
        source.lost = source.output.lost

    def _drop(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._sources.pop(descriptor).output.close()
        os.close(descriptor)


def keep_logs(listener: socket.socket, state: StateDirectory) -> None:
    """Be the lab's log keeper until nobody is left to read for."""
    raise_limit()  # two descriptors for each command
    os.nice(NICENESS)
    keeper = LogKeeper(listener)
    keeper.resume(state)
    keeper.run()
