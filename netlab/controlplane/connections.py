"""The connections of the API server: how many a client may have, and how slow it may be.

Before a request has shown a valid token its connection is unauthenticated: `STRANGERS` of one address at a time, each for
`ApiTimeouts.stranger` seconds, in which the TLS handshake and the request's headers must arrive (`netlab.serving.roster`). The
daemon shares one roster among all its TCP listeners, so a client in the lab and one on the machine's loopback are counted apart,
by address. The Unix socket, which only the lab's owner can open, has no limit.

aiohttp makes the protocol of a connection; `Guarded` wraps it and reports the end of the connection to its seat.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from netlab.serving.descriptors import room
from netlab.serving.listener import SWEEP_SECONDS, Listener
from netlab.serving.roster import Limits, Roster, Seat

TOTAL: Final = 2048
PER_PEER: Final = 512  # with tokens; a node's agent needs seven
STRANGERS: Final = 32
TLS_BUFFER: Final = 32 * 1024  # bytes read at once per TLS connection: two records; asyncio's own 256 KiB make 12 MB for a lab
WRITE_BUFFER: Final = 64 * 1024  # bytes that wait for a client outside the kernel; asyncio's own with TLS is 512 KiB


@dataclass(frozen=True)
class ApiTimeouts:
    """How many seconds a client may take."""

    stranger: float = 10.0  # for a connection's first valid token
    idle: float = 90.0  # between two requests, as kube-apiserver
    body: float = 30.0  # for the body of a request to arrive
    linger: float = 2.0  # for the rest of a body that is not read
    stall: float = 30.0  # for a client's kernel to take something of what is due to it
    watch_write: float = 30.0  # for a watcher to take what is written at once
    sweep: float = SWEEP_SECONDS  # between two searches for connections that took too long


TIMEOUTS: Final = ApiTimeouts()


def api_roster(timeouts: ApiTimeouts = TIMEOUTS) -> Roster:
    """Return the roster of a process's API listeners, within the process's limit of open files."""
    total = room(TOTAL)
    strangers = min(STRANGERS, max(1, total // 2))
    return Roster(Limits(total, min(PER_PEER, total), strangers, timeouts.stranger, timeouts.idle))


def aiohttp_log() -> logging.Logger:
    """Return aiohttp's log without its traceback for each request that is not HTTP: anyone can send those, by the thousand."""
    log = logging.getLogger("netlab.controlplane.aiohttp")
    log.addFilter(_is_own_fault)
    return log


def _is_own_fault(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class Guarded(asyncio.Protocol):
    """A connection's protocol with its seat: forwards everything, and leaves the seat at the end."""

    def __init__(self, inner: asyncio.Protocol, seat: Seat, seats: dict[object, Seat]) -> None:
        self._inner = inner
        self._seat = seat
        self._seats = seats
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._seats[self._inner] = self._seat
        cast("asyncio.Transport", transport).set_write_buffer_limits(WRITE_BUFFER)
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._seats.pop(self._inner).leave()
        self._inner.connection_lost(exc)


class Seats:
    """The seats of the connections that an aiohttp server has, by aiohttp's protocol of each."""

    def __init__(self, roster: Roster, timeouts: ApiTimeouts) -> None:
        self.timeouts = timeouts
        self._roster = roster
        self._seats: dict[object, Seat] = {}

    @contextmanager
    def serving(self, request: web.Request) -> Iterator[Seat]:
        """Lend the seat of a request's connection, which is busy during the `with` block."""
        clock = asyncio.get_running_loop().time
        seat = self._seats.get(request.protocol) or Seat(self._roster, request.remote or "", clock())  # it has just ended
        seat.begin()
        try:
            yield seat
        finally:
            seat.finish(clock())

    def listen(self, server: web.Server, bound: socket.socket, tls: ssl.SSLContext | None) -> Listener:
        """Accept the connections of a bound socket for an aiohttp server."""

        def factory(seat: Seat) -> asyncio.Protocol:
            return Guarded(server(), seat, self._seats)

        return Listener(
            "api",
            bound,
            factory,
            self._roster,
            tls=tls,
            stall_seconds=self.timeouts.stall,
            sweep_seconds=self.timeouts.sweep,
        )
