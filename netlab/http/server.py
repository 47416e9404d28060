"""HTTP/1.1 with the clients of a server of a node: h11 parses the messages, asyncio moves the bytes, this module joins them.

Built-in workloads and the health checks of agents are served by it.

A container holds one server and a separate Python, and starting ten of them is what `up` with runtime docker spends its
time on: h11 is loaded in a tenth of the time that a web framework takes. A connection is in one of three states:

    listening   no request is whole yet. `keep_alive` seconds of silence end it; a request that has begun must have its headers
                within `head` seconds, as must the first one of a connection, and more of its body every `body` seconds
    answering   the handler has the request, or the client has not taken the answer, of which it must take something
                every `write` seconds (`HttpTimeouts`)
    leaving     nothing more is read or sent

1. One request at a time. What the client sends ahead waits in h11; beyond READ_AHEAD bytes it waits in the client.
2. A request is read whole before the handler sees it, with at most LARGEST_BODY bytes of body, as nginx does: handlers never
   wait for a client, and one that waits for something else holds up its own client only.
3. Being served is counted from a request's last header until the client has taken the answer. When the connection breaks it is
   counted off, and the handler cancelled; a client that only ends its side (EOF) gets the answer.
4. What is not HTTP is answered with the status that h11 advises, too large a body with 413, and that is the last answer. So is
   the 400 for a request with Content-Length and Transfer-Encoding, which servers in a row may read differently (RFC 9112, 6.1).
5. Behind the last answer the client may still be talking: the kernel resets a connection that is closed with bytes unread, and
   the answer might be lost with it (RFC 9112, 9.6). So sending ends, and what still arrives is thrown away until the client
   closes, for `linger` seconds at most.
6. `end` is graceful: an idle connection is closed, a client being served gets the answer first, with `Connection: close`.

CONNECT and Upgrade are not granted. HTTP/1.0 gets one answer per connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Protocol, cast

import h11
import msgspec

from netlab.http.messages import HttpHandler, Request, Response
from netlab.serving.halfclose import end_sending
from netlab.serving.roster import Seat

LARGEST_BODY = 1 << 20  # nginx's client_max_body_size
READ_AHEAD = 1 << 16
REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
BODILESS = frozenset({HTTPStatus.NO_CONTENT.value, HTTPStatus.NOT_MODIFIED.value})


@dataclass(frozen=True)
class HttpTimeouts:
    """How many seconds a client may take."""

    keep_alive: float = 3630.0  # longer than the hour that load balancers keep idle connections: theirs to end
    head: float = 60.0  # nginx's client_header_timeout
    body: float = 60.0  # client_body_timeout
    write: float = 60.0  # send_timeout
    linger: float = 2.0


TIMEOUTS = HttpTimeouts()


class Connection(Protocol):
    """What can be ended: gracefully, or at once."""

    def end(self) -> None: ...

    def abort(self) -> None: ...


class Connections:
    """The open connections of a server."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._none = asyncio.Event()
        self._fresh: set[Connection] = set()  # whose client has not begun its first request
        self._no_fresh = asyncio.Event()

    def add(self, connection: Connection) -> None:
        """Take note of a new one."""
        self._open.add(connection)
        self._fresh.add(connection)

    def has_begun(self, connection: Connection) -> None:
        """Record that the client of a connection has begun its first request."""
        self._fresh.discard(connection)
        if not self._fresh:
            self._no_fresh.set()

    async def all_begun(self, seconds: float) -> None:
        """Return when the client of every open connection has begun a request, or had so many seconds for it."""
        if self._fresh:
            self._no_fresh.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._no_fresh.wait(), seconds)

    def discard(self, connection: Connection) -> None:
        """Forget one that has been lost."""
        self._open.discard(connection)
        self.has_begun(connection)
        if not self._open:
            self._none.set()

    async def close(self, seconds: float) -> None:
        """End all, gracefully for so many seconds. No client can connect any more."""
        if not self._open:
            return
        self._none.clear()
        for connection in tuple(self._open):
            connection.end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._none.wait(), seconds)
        for connection in tuple(self._open):
            connection.abort()
        await self._none.wait()


@dataclass(frozen=True)
class HttpService:
    """What the connections of a listener share: the handler, the set of connections, and the counter of clients being served."""

    answer: HttpHandler
    connections: Connections
    begin: Callable[[], None]
    finish: Callable[[], None]
    timeouts: HttpTimeouts = TIMEOUTS


class State(Enum):
    LISTENING = "listening"
    ANSWERING = "answering"
    LEAVING = "leaving"


class HttpConnection(asyncio.Protocol):
    """One client."""

    _transport: asyncio.Transport

    def __init__(self, service: HttpService, seat: Seat) -> None:
        self._service = service
        self._timeouts = service.timeouts
        self._seat = seat
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER)
        self._state = State.LISTENING
        self._client = ""
        self._head: Request | None = None  # of the request that is being read or answered
        self._body = bytearray()
        self._handler: asyncio.Task[Response] | None = None
        self._counted = False
        self._full = False  # the client is slower than the answer
        self._ending = False
        self._heard = 0.0
        self._due: float | None = None  # when more of the request that has begun must have come
        self._untaken = 0  # bytes of the answer that waited for the client when that was looked at last
        self._timer: asyncio.TimerHandle | None = None

    # ---- callbacks of asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._client = f"{peer[0]}:{peer[1]}" if peer else ""
        self._transport.set_write_buffer_limits(0)  # an answer is taken when nothing of it waits here
        self._service.connections.add(self)
        self._heard = self._loop.time()
        self._expect(self._timeouts.head)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self._state is State.LEAVING:
            return
        self._http.receive_data(data)
        if self._state is State.LISTENING:
            self._read()
            self._expect_rest()
        elif len(self._http.trailing_data[0]) > READ_AHEAD:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        if self._state is not State.LEAVING:
            self._http.receive_data(b"")
        if self._state is State.LISTENING:
            self._read()
        return self._state is not State.LEAVING  # a client with nothing more to send may still read

    def pause_writing(self) -> None:
        self._full = True
        self._untaken = self._transport.get_write_buffer_size()
        self._wait(self._timeouts.write, self._silent)

    def resume_writing(self) -> None:
        self._full = False
        if self._state is State.ANSWERING and self._handler is None:
            self._answer_taken()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._state = State.LEAVING
        if self._handler:
            self._handler.cancel()
        if self._timer:
            self._timer.cancel()
        self._count_off()
        self._seat.leave()
        self._service.connections.discard(self)

    # ---- ends
    def end(self) -> None:
        """Close, behind the answer if one is due."""
        self._ending = True
        if not self._counted:
            self._state = State.LEAVING
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever has not been sent."""
        self._transport.abort()

    def _leave(self) -> None:
        self._state = State.LEAVING
        if self._ending or self._http.their_state is h11.CLOSED:
            self._transport.close()
            return
        end_sending(self._transport)
        self._transport.resume_reading()
        self._wait(self._timeouts.linger, self._transport.close)

    def _silent(self) -> None:
        """Look what the client still owes, and since when: cheaper than a timer per request."""
        if self._state is State.ANSWERING:
            waiting = self._transport.get_write_buffer_size()
            left = self._timeouts.write if self._full else self._timeouts.keep_alive
            if 0 < self._untaken <= waiting:
                left = 0.0
            self._untaken = waiting
        else:
            due = self._heard + self._timeouts.keep_alive if self._due is None else self._due
            left = due - self._loop.time()
        if left <= 0:
            self._transport.abort()
        else:
            self._wait(left, self._silent)

    def _expect(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        self._wait(seconds, self._silent)

    def _expect_rest(self) -> None:
        """Set the time for the rest of a request of which a part has come, if there is one."""
        if self._state is not State.LISTENING:
            self._due = None
        elif self._head is not None:
            self._expect(self._timeouts.body)
        elif self._due is None and self._http.trailing_data[0]:
            self._expect(self._timeouts.head)

    def _wait(self, seconds: float, end: Callable[[], None]) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, end)

    # ---- requests
    def _read(self) -> None:
        """Read from the client until a request is whole or the stream ends."""
        try:
            while self._state is State.LISTENING and self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._send(_refusal(error.error_status_hint))

    def _take(self, event: type[h11.NEED_DATA | h11.PAUSED] | h11.Event) -> bool:
        """Take one event; return whether there may be another."""
        match event:
            case h11.Request():
                self._take_head(event)
            case h11.Data():
                self._body += event.data
                if len(self._body) > LARGEST_BODY:
                    self._send(_refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
            case h11.EndOfMessage() if self._head:
                self._hand_over(msgspec.structs.replace(self._head, body=bytes(self._body)))
            case h11.ConnectionClosed():
                self._leave()
            case _:
                return False
        return True

    def _take_head(self, request: h11.Request) -> None:
        self._head = Request(
            method=request.method.decode(),
            target=request.target.decode(),
            version=request.http_version.decode(),
            headers=tuple((name.decode(), value.decode(errors="replace")) for name, value in request.headers.raw_items()),
            client=self._client,
        )
        self._body.clear()
        self._counted = True
        self._service.begin()
        self._service.connections.has_begun(self)
        self._seat.begin()
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}:
            self._send(_refusal(HTTPStatus.BAD_REQUEST))
        elif request.method == b"CONNECT":
            self._send(_refusal(HTTPStatus.METHOD_NOT_ALLOWED))
        elif self._http.they_are_waiting_for_100_continue:
            announced = next((int(value) for name, value in request.headers if name == b"content-length"), 0)
            if announced > LARGEST_BODY:
                self._send(_refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
            else:
                self._transport.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")))

    def _hand_over(self, request: Request) -> None:
        """Let the handler answer; it may take its time."""
        self._state = State.ANSWERING
        self._handler = self._loop.create_task(self._service.answer(request))
        self._handler.add_done_callback(self._answered)

    # ---- answers
    def _answered(self, handler: asyncio.Task[Response]) -> None:
        self._handler = None
        if self._state is State.LEAVING:
            return
        error = handler.exception()
        if error is not None:
            self._loop.call_exception_handler({"message": "a built-in server failed", "exception": error, "protocol": self})
        self._send(_refusal(HTTPStatus.INTERNAL_SERVER_ERROR) if error else handler.result())

    def _send(self, response: Response) -> None:
        """Send an answer, and continue when the client has taken it."""
        self._state = State.ANSWERING
        headers = [("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())), ("Server", "netlab"), *response.headers]
        body = response.body
        if response.status in BODILESS:
            body = b""
        else:
            headers += [("Content-Type", response.content_type), ("Content-Length", str(len(body)))]
        if response.last or self._ending:
            headers.append(("Connection", "close"))
        if self._head and self._head.method == "HEAD":
            body = b""
        reason = REASONS.get(response.status, b"")
        words = self._http.send(h11.Response(status_code=response.status, headers=headers, reason=reason)) or b""
        words += self._http.send(h11.Data(data=body)) or b""
        self._transport.write(words + (self._http.send(h11.EndOfMessage()) or b""))
        if not self._full:
            self._answer_taken()

    def _answer_taken(self) -> None:
        self._count_off()
        if not (self._http.our_state is self._http.their_state is h11.DONE):
            self._leave()
            return
        self._http.start_next_cycle()
        self._head = None
        self._state = State.LISTENING
        self._due, self._untaken = None, 0
        self._transport.resume_reading()
        self._read()
        self._expect_rest()

    def _count_off(self) -> None:
        if self._counted:
            self._counted = False
            self._service.finish()
            self._seat.finish(self._loop.time())


def _refusal(status: int) -> Response:
    return Response(status=status, body=b"%d %b\n" % (status, REASONS.get(status, b"")), last=True)
