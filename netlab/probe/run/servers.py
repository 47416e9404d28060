"""The runner's own servers, inside the target's namespace: they prove the network whatever the workload does.

A server answers each message with the mark of an answer, the message's key, and the client address it saw. It listens
on an ephemeral port, or on the port of an endpoint outside the cluster that no process serves (`stand_in`).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from netlab.probe.plan.checks import Place
from netlab.probe.run.vantage import BrokenProbeError, Enter, open_socket
from netlab.probe.run.wire import ANSWER_MARK, KEY_LENGTH, MARK

BACKLOG = 1024
LONGEST_MESSAGE = 65535


@dataclass
class Servers:
    """One TCP and one UDP socket per place, made when first asked for."""

    enter: Enter
    ports: dict[tuple[str, str, int], int] = field(default_factory=dict)
    _sockets: list[socket.socket] = field(default_factory=list)
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    def port(self, place: Place, protocol: str) -> int:
        """Return the port on which the runner listens in a place. Raises BrokenProbeError, e.g. without its address."""
        try:
            return self._listen(place, protocol, 0)
        except OSError as error:
            raise BrokenProbeError(f"cannot listen at {place.address} of {place.name}: {error.strerror}") from error

    def stand_in(self, place: Place, protocol: str, port: int) -> None:
        """Listen on a port of a host outside the cluster, unless another process already does."""
        try:
            self._listen(place, protocol, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise BrokenProbeError(f"cannot listen on port {port} of {place.name}: {error}") from error

    def _listen(self, place: Place, protocol: str, port: int) -> int:
        key = (place.namespace, protocol, port)
        if key not in self.ports:
            kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
            sock = open_socket(self.enter, place.namespace, kind)
            self._sockets.append(sock)
            sock.bind((place.address, port))  # so that a datagram is answered from the address it was sent to
            if protocol == "TCP":
                sock.listen(BACKLOG)
            loop = asyncio.get_running_loop()
            loop.add_reader(sock, self._accept if protocol == "TCP" else self._answer, sock)
            self.ports[key] = sock.getsockname()[1]
        return self.ports[key]

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            while True:
                connection, (address, _) = listener.accept()
                connection.setblocking(False)
                task = asyncio.ensure_future(self._talk(connection, address))
                self._talks.add(task)
                task.add_done_callback(self._talks.discard)

    async def _talk(self, connection: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        with connection, suppress(OSError):  # the client is gone, or there is no way back to it: its check shows it
            message = await loop.sock_recv(connection, LONGEST_MESSAGE)
            if message:
                await loop.sock_sendall(connection, answer(message, address))

    def _answer(self, sock: socket.socket) -> None:
        with suppress(BlockingIOError):
            while True:
                message, (address, port) = sock.recvfrom(LONGEST_MESSAGE)
                with suppress(OSError):
                    sock.sendto(answer(message, address), (address, port))

    async def close(self) -> None:
        """Stop listening and end open conversations."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            loop.remove_reader(sock)
            sock.close()
        talks = tuple(self._talks)
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


def answer(message: bytes, address: str) -> bytes:
    """Return the answer to a message: the key it contains, and its source."""
    at = message.find(MARK)
    key = message[at + len(MARK) : at + len(MARK) + KEY_LENGTH] if at >= 0 else b""
    return ANSWER_MARK + key + b" " + address.encode() + b"\n"


def source_in(said: bytes) -> str:
    """Return the client address that a server's answer names, empty if it is not a probe's."""
    head, _, tail = said.partition(b" ")
    return tail.strip().decode("ascii", "replace") if head.startswith(ANSWER_MARK) else ""
