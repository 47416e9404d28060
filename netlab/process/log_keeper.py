"""The lab's log keeper: a process that stores the output of pods' commands in logs of limited size.

A command writes to a pipe. If it writes faster than the keeper stores, the pipe is full and the
command waits; a watcher of a file is too slow (`yes` writes gigabytes in a second). One process
serves all commands with epoll: it reads at most 64 KiB of each that has written, then of the next.

A command survives the death of every other process:
  - The pipe has a name, `pods/<uid>/<container>.pipe`. The command has it open for reading and
    writing, so it always has a reader: no write fails because the keeper has ended. If the pipe is
    full, the command waits until the next keeper reads.
  - The keeper does not end with the daemon: it continues to read if the daemon and its spawner are
    killed. The next spawner connects to its socket. A spawner that finds no keeper, or loses it,
    starts one, which finds the pipes by their names.
  - The keeper receives a pipe as a descriptor before the command starts (`log_pipes`), so it also
    stores the output of a command that ends at once.

It ends when no spawner is connected and no command is left. Output that a command wrote without a
keeper, and that is still in the pipe when the command ends, is lost: 64 KiB at most.
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

NAME: Final = "log-keeper"  # the name of its record, its socket and its own log
PIPE_SUFFIX: Final = ".pipe"
CHUNK: Final = 1 << 16
LONGEST_NAME: Final = 4096  # bytes of a path
NICENESS: Final = 5  # slows down commands that flood their logs, not the lab
FULL: Final = "free disk space; until then the command's output is dropped"
log = logging.getLogger("netlab.process")


def pipe_of(log_file: Path) -> Path:
    """Return the pipe of a log."""
    return log_file.with_suffix(PIPE_SUFFIX)


def log_of(pipe: Path) -> Path:
    """Return the log of a pipe."""
    return pipe.with_suffix(".log")


def open_to_read(pipe: Path) -> int:
    """Return a non-blocking descriptor to read a pipe."""
    return os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


@dataclass
class _Source:
    """A pipe, and its log."""

    output: RotatingFile
    lost: int = 0  # bytes, as last reported


class LogKeeper:
    """Reads pipes into logs. `run` returns when no spawner is connected and no pipe is open."""

    def __init__(self, listener: socket.socket, limits: Limits = CONTAINER) -> None:
        self._listener = listener
        listener.setblocking(False)
        self._limits = limits
        self._spawners: dict[int, socket.socket] = {}
        self._sources: dict[int, _Source] = {}
        self._poll = select.epoll()
        self._poll.register(listener, select.EPOLLIN)

    def resume(self, state: StateDirectory) -> None:
        """Read the pipes of an earlier keeper."""
        for pipe in state.root.glob(f"pods/*/*{PIPE_SUFFIX}"):
            with suppress(OSError):  # the pod was removed at this moment
                reading = open_to_read(pipe)
                self.add(log_of(pipe), reading)
                self._read(reading)  # epoll does not report a pipe that had no writer when it was opened

    def add(self, log_file: Path, reading: int) -> None:
        """Start to read a pipe. A log has one source: an earlier one of the same pipe is closed."""
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
        if not data:  # no process has the pipe open for writing
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
    """Run the lab's log keeper until no spawner is connected and no pipe is open."""
    raise_limit()  # two descriptors for each command
    os.nice(NICENESS)
    keeper = LogKeeper(listener)
    keeper.resume(state)
    keeper.run()
