"""One built-in workload being served: its sockets, the counting of requests, its log.

Sockets are made in the pod's namespace (`netlab.workloads.sockets`); the process itself never moves. All sockets of a
server are bound before the first one listens, so a server is up as a whole or not at all, as a program would be.

When no rule leads to the pod any more, `drained` returns after all earlier clients have been served: those waiting in the
kernel to be accepted, connected and about to send a first request, waiting for an answer, datagrams not yet read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol, cast

import msgspec

from netlab.api.times import timestamp_of
from netlab.containment import Contained, describe
from netlab.errors import KernelError
from netlab.http.messages import HttpHandler, Request, Response
from netlab.http.server import Connections, HttpConnection, HttpService
from netlab.serving.descriptors import room
from netlab.serving.listener import Listener
from netlab.serving.roster import Limits, Roster, Seat
from netlab.workloads.protocol import ServerSpec, ServerStatus
from netlab.workloads.servers import SERVERS
from netlab.workloads.servers import Listener as Port
from netlab.workloads.servers.base import CLIENT_HEADER, POD_HEADER, BadArgumentsError, Process

BACKLOG = 4096  # somaxconn's default today
MOST_CONNECTIONS = 1024  # of a pod, as nginx's worker_connections; then the longest idle one makes room
CANNOT_LISTEN, BROKEN = 1, 2  # exit codes; that of a Go program which panics is 2
HTTP_METHODS = tuple(f"{word} ".encode() for word in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
LONGEST_METHOD = max(map(len, HTTP_METHODS))
LARGEST_DATAGRAM = 65535
FIRST_REQUEST_SECONDS = 1.0  # that a new connection has to begin its first request when the server ends
PASSES = 4  # of the event loop until what waited to be accepted is a connection: readiness, accept, task, connection_made
DATAGRAMS = 1000  # read at most when the server ends: more than a socket's buffer holds
CLOSE_SECONDS = 2.0  # that requests being served get when the server ends
IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
PKTINFO = struct.Struct("=I4s4s")  # interface, local address, destination in the header (ip(7))

log = logging.getLogger("netlab.workloads")
Bind = Callable[[str, str, int], socket.socket]  # namespace, protocol, port -> a bound socket


class Output(Protocol):
    """Where a server's log goes: a text stream, or a file with a size."""

    def write(self, text: str, /) -> object:
        """Add text."""

    def close(self) -> None:
        """Close it."""


def bound(_path: str, protocol: str, port: int) -> socket.socket:
    """Return a socket bound to a port of the namespace that this process is in."""
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    endpoint = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if protocol == "TCP":
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        endpoint.bind(("0.0.0.0", port))
    except OSError as error:
        endpoint.close()
        raise OSError(error.errno, f"bind {port}/{protocol}: {error.strerror}") from error
    return endpoint


class ServedWorkload:
    """A server's life: `start`, changes reported to `changed`, `close`."""

    def __init__(
        self,
        spec: ServerSpec,
        changed: Callable[[], None],
        output: Output | None = None,
        bind: Bind = bound,
        *,
        most_connections: int = MOST_CONNECTIONS,
        first_request_seconds: float = FIRST_REQUEST_SECONDS,
    ) -> None:
        """Write to `output`; `bind` makes sockets in the spec's namespace."""
        self.spec = spec
        self.code: int | None = None
        self.message = ""
        self._busy = 0
        self._idle = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._changed = changed
        self._sockets: list[socket.socket] = []
        self._datagrams: dict[socket.socket, Port] = {}
        self._servers: list[Listener] = []
        self._connections = Connections()
        most = room(most_connections)
        self._roster = Roster(Limits(most, most, most, stranger_seconds=math.inf, idle_seconds=math.inf))
        self._first_request_seconds = first_request_seconds
        self._make = bind
        self._log = output

    @property
    def status(self) -> ServerStatus:
        return ServerStatus(key=self.spec.key, run=self.spec.run, code=self.code, message=self.message, busy=self._busy)

    async def start(self, open_log: Callable[[], Output] | None = None) -> None:
        """Open the log, bind, then listen. Any failure becomes the server's exit code and last message, also in its log."""
        with Contained() as attempt:
            if open_log is not None:
                self._log = open_log()
            await self._start()
        if attempt.error is not None:
            with Contained():  # its last message may not fit; it has ended anyway
                await self._fail(*last_words(attempt.error))

    async def _start(self) -> None:
        listeners = SERVERS[self.spec.server](Process(self.spec, self._exit))
        bound = self._bind(listeners)
        for listener, endpoint in bound:
            await self._listen(listener, endpoint)
        ports = ", ".join(f"{listener.port}/{listener.protocol}" for listener in listeners)
        self._write(f"{self.spec.server}: serving {ports or 'nothing'}")

    def end(self) -> None:
        """Close as soon as all clients are served, with exit code 0; to be called when no rule leads here any more."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(), name=f"end {self.spec.key}")

    async def _end(self) -> None:
        await self.drained()
        await self.close()
        self._exit(self.code or 0)

    async def drained(self) -> None:
        """Return when all clients that have come are served."""
        for _ in range(PASSES):
            await asyncio.sleep(0)
        await self._connections.all_begun(self._first_request_seconds)
        while self._busy:
            self._idle.clear()
            await self._idle.wait()
        for endpoint, listener in self._datagrams.items():
            for _ in range(DATAGRAMS):
                if not self._receive(listener, endpoint):
                    break

    async def close(self) -> None:
        """Stop listening; requests being served get a moment to end, idle connections are closed."""
        if self._ending and self._ending is not asyncio.current_task():
            self._ending.cancel()
        for datagram in self._datagrams:
            asyncio.get_running_loop().remove_reader(datagram)
        for server in self._servers:
            server.close()
        await self._connections.close(CLOSE_SECONDS)
        for endpoint in self._sockets:
            endpoint.close()
        self._sockets, self._datagrams, self._servers = [], {}, []
        if self._log:
            self._log.close()
            self._log = None

    # ---- sockets
    def _bind(self, listeners: tuple[Port, ...]) -> list[tuple[Port, socket.socket]]:
        for listener in listeners:
            self._sockets.append(self._make(self.spec.path, listener.protocol, listener.port))
        return list(zip(listeners, self._sockets, strict=True))

    async def _listen(self, listener: Port, endpoint: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if listener.datagram:
            endpoint.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            self._datagrams[endpoint] = listener
            loop.add_reader(endpoint, self._receive, listener, endpoint)
            return
        if listener.http is None:
            return
        service = HttpService(self._signed(listener.http), self._connections, self.begin, self.finish)
        first = _Sniffer if listener.raw else HttpConnection
        name = f"{self.spec.pod}:{listener.port}"
        self._servers.append(Listener(name, endpoint, lambda seat: first(service, seat), self._roster, backlog=BACKLOG))

    def _receive(self, listener: Port, endpoint: socket.socket) -> bool:
        """Answer one datagram from the very address it was sent to: a host with several would choose another.

        Return whether there was one.
        """
        try:
            data, ancillary, _, sender = endpoint.recvmsg(LARGEST_DATAGRAM, socket.CMSG_SPACE(PKTINFO.size))
        except OSError:  # an ICMP error of an earlier answer, or another reader was faster
            return False
        client = f"{sender[0]}:{sender[1]}"
        answer = listener.datagram(data, client) if listener.datagram else None
        self._write(f"{client} UDP {listener.port} {len(data)} bytes")
        if answer is None:
            return True
        local = next((PKTINFO.unpack(content)[1] for level, kind, content in ancillary if kind == IP_PKTINFO), bytes(4))
        control = (socket.IPPROTO_IP, IP_PKTINFO, PKTINFO.pack(0, local, bytes(4)))
        with contextlib.suppress(OSError):  # the client has gone or the answer is too long: UDP promises nothing
            endpoint.sendmsg([answer], [control], 0, sender)
        return True

    # ---- requests
    def _signed(self, handler: HttpHandler) -> HttpHandler:
        """Return the handler with answers that name server and client; each is a line in the log."""

        async def answer(request: Request) -> Response:
            response = await handler(request)
            self._write(f'{request.client} "{request.method} {request.target}" {response.status}')
            headers = (*response.headers, (POD_HEADER, self.spec.pod), (CLIENT_HEADER, request.client))
            last = response.last or self.spec.draining or self.code is not None
            return msgspec.structs.replace(response, headers=headers, last=last)

        return answer

    def begin(self) -> None:
        """Count a client being served."""
        self._busy += 1

    def finish(self) -> None:
        """Count a client less."""
        self._busy -= 1
        if self._busy == 0:
            self._idle.set()

    def _exit(self, code: int) -> None:
        """End as a process would: the answer being written still leaves, then the sockets close."""
        self.code = code
        self._changed()

    async def _fail(self, code: int, message: str) -> None:
        self.code, self.message = code, message
        try:
            self._write(f"{self.spec.server}: {message}")
        finally:
            await self.close()

    def _write(self, line: str) -> None:
        if self._log:
            self._log.write(f"{timestamp_of(time.time())} {line}\n")


def last_words(error: Exception) -> tuple[int, str]:
    """Return the exit code and the message of a server that could not start, as its program would have them."""
    if isinstance(error, BadArgumentsError):
        return error.code, str(error)
    if isinstance(error, OSError | KernelError):
        return CANNOT_LISTEN, getattr(error, "strerror", None) or str(error)
    log.error("server=broken", exc_info=error)
    return BROKEN, describe(error)


class _Sniffer(asyncio.Protocol):
    """Decide by the first bytes of a connection: HTTP goes to its own protocol, everything else is echoed."""

    _transport: asyncio.Transport

    def __init__(self, service: HttpService, seat: Seat) -> None:
        self._service = service
        self._seat = seat
        self._echoing = False
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._service.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._echoing:
            self._transport.write(data)
            return
        self._seen += data
        if self._seen.startswith(HTTP_METHODS):
            http = HttpConnection(self._service, self._seat)
            self._transport.set_protocol(http)
            http.connection_made(self._transport)
            self._service.connections.discard(self)
            http.data_received(self._seen)
        elif len(self._seen) >= LONGEST_METHOD or not any(method.startswith(self._seen) for method in HTTP_METHODS):
            self._echoing = True
            self._seat.begin()
            self._service.begin()
            self._service.connections.has_begun(self)
            self._transport.write(self._seen)

    def eof_received(self) -> bool:
        if not self._echoing:
            self._transport.write(self._seen)
        return False  # close: everything received has been sent back

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._seat.leave()
        self._service.connections.discard(self)
        if self._echoing:
            self._service.finish()

    def end(self) -> None:
        """Close behind what has been sent back."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
