"""The client side of HTTP/1.1: h11 parses the messages, asyncio moves the bytes, this module joins them.

A small client needs little: an agent is a separate Python in each node's container, and loading a whole client (aiohttp)
cost it as much time as everything else it imports. What a lab's own servers need of a client is here, and no more: no
redirects, cookies, compression, proxies or host names (addresses only).

1. A connection has one exchange at a time: `ask` sends a request and returns the head of the answer, `body` yields the rest
   as it comes. When that has been read to its end, `is_free` is whether there may be another exchange.
2. Every failure of the connection is an OSError: refused, reset, closed in mid-answer, not HTTP.
3. The caller sets timeouts: only `connect` ends by itself.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Self

import h11

READ_BYTES = 1 << 16
Header = tuple[str, str]


async def connect(address: str, port: int, seconds: float) -> socket.socket:
    """Return a TCP connection. Raises OSError; a TimeoutError, which is one, after so many seconds."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(connection, (address, port))
    except BaseException:
        connection.close()
        raise
    return connection


class Connection:
    """A connection to one server, made by `open`."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host  # with its port, as the server requires it
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, address: str, port: int, seconds: float, tls: ssl.SSLContext | None = None) -> Self:
        """Connect, within so many seconds, and agree on TLS if that is wanted."""
        connection = await connect(address, port, seconds)
        name = address if tls else None
        try:
            reader, writer = await asyncio.open_connection(sock=connection, ssl=tls, server_hostname=name)
        except BaseException:
            connection.close()
            raise
        return cls(f"{address}:{port}", reader, writer)

    @property
    def is_free(self) -> bool:
        """The exchange is complete, and both sides are open."""
        return self._http.our_state is self._http.their_state is h11.DONE and not self._reader.at_eof()

    async def ask(self, method: str, target: str, headers: Sequence[Header] = (), content: bytes = b"") -> int:
        """Send a request and return the status of the answer."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        length = [("Content-Length", str(len(content)))] if content else []
        request = h11.Request(method=method, target=target, headers=[("Host", self._host), *headers, *length])
        events = (request, h11.Data(data=content), h11.EndOfMessage())
        self._writer.writelines([self._http.send(event) or b"" for event in events])
        while not isinstance(event := await self._event(), h11.Response):
            pass  # 100 Continue and the like
        return event.status_code

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body of the answer, as it comes."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    def close(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    async def _event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(READ_BYTES))
        except h11.RemoteProtocolError as error:
            raise ConnectionError(str(error)) from error
        return event
