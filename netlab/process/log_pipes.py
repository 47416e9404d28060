"""The spawner's side of the log keeper (theory: `log_keeper`): pipes for commands, and their reader.

The first command starts the keeper, or a spawner that finds pipes of an earlier one. If the keeper
ends while the spawner is connected, the spawner starts another one: at once the first time, then at
most once a second.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from netlab.files import socket_address
from netlab.process.log_keeper import NAME, PIPE_SUFFIX, open_to_read, pipe_of
from netlab.process.records import read_record, stop
from netlab.state import StateDirectory

RESTART_SECONDS: Final = 1.0  # between two starts of a keeper that ends at once

log = logging.getLogger("netlab.process")
Fork = Callable[[socket.socket], None]  # starts a recorded keeper that serves this listening socket


class LogPipes:
    """The connection to the lab's log keeper."""

    def __init__(self, state: StateDirectory, fork: Fork) -> None:
        self._state = state
        self._fork = fork
        self._channel: socket.socket | None = None
        self._last_start = -RESTART_SECONDS

    @property
    def channel(self) -> socket.socket | None:
        """The connection, which becomes readable when the keeper ends."""
        return self._channel

    def resume(self) -> None:
        """Ensure that a keeper reads the pipes of an earlier spawner."""
        if any(self._state.root.glob(f"pods/*/*{PIPE_SUFFIX}")):
            self.restore(ended=False)

    def open(self, log_file: Path) -> int:
        """Create the pipe of a command's log and send it to the keeper.

        Return the command's end.
        """
        pipe = pipe_of(log_file)
        pipe.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.mkfifo(pipe, 0o600)
        output = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._send(log_file, open_to_read(pipe))
        except OSError:
            os.close(output)
            raise
        return output

    def restore(self, *, ended: bool) -> float | None:
        """Restart a keeper that has ended.

        Return the seconds until the next call, None if one runs.
        """
        if ended and self._channel:
            self._channel.close()
            self._channel = None
        if self._channel:
            return None
        wait = self._last_start + RESTART_SECONDS - time.monotonic()
        if wait > 0:
            return wait
        try:
            self._connect()
        except OSError as error:
            log.warning("process=%s state=failed error=%r", NAME, str(error))
            return RESTART_SECONDS
        return None

    def _send(self, log_file: Path, reading: int) -> None:
        try:
            for _attempt in range(2):  # the second attempt is for a keeper that has just ended
                channel = self._channel or self._connect()
                try:
                    socket.send_fds(channel, [os.fsencode(log_file)], [reading])
                except ConnectionError:
                    channel.close()
                    self._channel = None
                else:
                    return
        finally:
            os.close(reading)

    def _connect(self) -> socket.socket:
        """Connect to the running keeper, or start one."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = self._state.socket(NAME)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with socket_address(path) as address:
            try:
                channel.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):
                self._start(path, address, channel)
        self._channel = channel
        return channel

    def _start(self, path: Path, address: str, channel: socket.socket) -> None:
        """Start a keeper and connect to it.

        First end one that is unreachable: its socket was removed.
        """
        if record := read_record(self._state, NAME):
            stop([record])
        self._last_start = time.monotonic()
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(address)
            listener.listen()
            channel.connect(address)  # before the fork: a keeper ends with its last spawner
            self._fork(listener)
