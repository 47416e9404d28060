"""The accept loop of a listening socket, in place of asyncio's.

asyncio's own loop, when the process has no free descriptor, logs a traceback for each of up to `backlog` attempts and starts
again after a second as many times: 1,005 idle connections wrote 56 MB of log in 26 s. This one

- takes at most ACCEPTS_PER_TURN connections before other work of the process gets its turn,
- asks the server's roster about each (`netlab.serving.roster`), and closes at once what is refused,
- on EMFILE and the like closes the connection that has been idle longest and accepts again; when there is none it waits
  RETRY_ACCEPT_SECONDS. The log gets one line per LOG_INTERVAL, whatever happens,
- closes connections whose deadline has passed, once per SWEEP_SECONDS; this includes TLS handshakes,
- with `stall_seconds`, makes the kernel end a TCP connection whose client has not received or
  acknowledged pending data for that time (TCP_USER_TIMEOUT, tcp(7)).

The protocol that `factory` makes gets the `Seat` and calls `seat.leave()` in `connection_lost`.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from netlab.serving.roster import TRUSTED, Roster, Seat

BACKLOG: Final = 1024
ACCEPTS_PER_TURN: Final = 8
RETRY_ACCEPT_SECONDS: Final = 0.5  # without a free descriptor
LOG_INTERVAL: Final = 10.0
SWEEP_SECONDS: Final = 1.0
TLS_SHUTDOWN_SECONDS: Final = 2.0  # how long a client that does not answer close_notify keeps its descriptor
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
Factory = Callable[[Seat], asyncio.Protocol]
log = logging.getLogger("netlab.serving")


class Listener:
    """Accepts the connections of one bound socket until `close`. Needs a running event loop."""

    def __init__(
        self,
        name: str,
        bound: socket.socket,
        factory: Factory,
        roster: Roster,
        *,
        tls: ssl.SSLContext | None = None,
        backlog: int = BACKLOG,
        stall_seconds: float | None = None,
        sweep_seconds: float = SWEEP_SECONDS,
        retry_accept_seconds: float = RETRY_ACCEPT_SECONDS,
        report: Callable[[str], None] | None = None,
    ) -> None:
        bound.listen(backlog)
        bound.setblocking(False)
        self.socket = bound
        self._name = name
        self._factory = factory
        self._roster = roster
        self._tls = tls
        self._stall_seconds = stall_seconds
        self._sweep_seconds = sweep_seconds
        self._retry_accept_seconds = retry_accept_seconds
        self._report = report  # receives for a user what would otherwise be logged
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()  # transports being made, TLS handshakes included
        self._pause: asyncio.TimerHandle | None = None
        self._logged = float("-inf")
        self._unlogged = 0
        self._loop.add_reader(bound, self._accept)
        self._sweeper: asyncio.TimerHandle | None = None  # runs while there are connections that have deadlines

    def close(self) -> None:
        """Stop accepting, close the socket and abort handshakes.

        Connections with a transport stay.
        """
        for timer in filter(None, (self._sweeper, self._pause)):
            timer.cancel()
        if self.socket.fileno() >= 0:
            self._loop.remove_reader(self.socket)
            self.socket.close()
        for task in self._starting:
            task.cancel()

    # ---- accept
    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, address = self.socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._relieve(error)
                    return
                log.debug("listener=%s connection=lost error=%r", self._name, str(error))  # accept(2): of the new connection
                continue
            self._welcome(connection, address)

    def _welcome(self, connection: socket.socket, address: object) -> None:
        peer = str(address[0]) if isinstance(address, tuple) else TRUSTED
        seat = self._roster.admit(peer, self._loop.time())
        if seat is None:
            connection.close()
            self._warn(f"refused a connection from {peer}: the connection limit is reached")
            return
        connection.setblocking(False)
        if self._sweeper is None and math.isfinite(self._roster.limits.stranger_seconds):
            self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)
        if self._stall_seconds and connection.family in {socket.AF_INET, socket.AF_INET6}:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._stall_seconds * 1000))
        task = self._loop.create_task(self._begin(connection, seat))
        seat.close = partial(self._give_up, task)
        self._starting.add(task)
        task.add_done_callback(partial(self._begun, connection, seat))

    def _give_up(self, task: asyncio.Task[None]) -> None:
        task.cancel()

    def _begun(self, connection: socket.socket, seat: Seat, task: asyncio.Task[None]) -> None:
        """Clean up a connection that got no transport; a cancelled task may not have started."""
        self._starting.discard(task)
        if task.cancelled():
            seat.leave()
            connection.close()

    async def _begin(self, connection: socket.socket, seat: Seat) -> None:
        """Create the transport; with TLS this takes as long as the handshake."""
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                partial(self._factory, seat),
                connection,
                ssl=self._tls,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if self._tls else None,
            )
            seat.close = transport.abort
        except OSError as error:  # not TLS, or closed before the handshake ended
            seat.leave()
            connection.close()
            log.debug("listener=%s peer=%s connection=lost error=%r", self._name, seat.peer, str(error))

    # ---- no free descriptor
    def _relieve(self, error: OSError) -> None:
        relieved = self._roster.relieve()
        remedy = "closed an idle connection" if relieved else f"retrying in {self._retry_accept_seconds:g} s"
        self._warn(f"cannot accept a connection: {os.strerror(error.errno or 0)}; {remedy}")
        if not relieved:
            self._loop.remove_reader(self.socket)
            self._pause = self._loop.call_later(self._retry_accept_seconds, self._resume)

    def _resume(self) -> None:
        self._loop.add_reader(self.socket, self._accept)

    def _warn(self, message: str) -> None:
        """Log or report one line per interval; the log line counts those left out."""
        now = self._loop.time()
        if now - self._logged < LOG_INTERVAL:
            self._unlogged += 1
            return
        if self._report:
            self._report(message)
        else:
            log.warning("listener=%s message=%r unlogged_before=%d", self._name, message, self._unlogged)
        self._logged, self._unlogged = now, 0

    def _sweep(self) -> None:
        self._roster.expire(self._loop.time())
        again = self._roster.seats
        self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep) if again else None
