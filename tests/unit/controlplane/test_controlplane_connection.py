from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from netlab.api.resources import NODES
from netlab.controlplane.connection import Connection
from netlab.controlplane.http import HttpClient
from netlab.errors import ApiError

HOST = "127.0.0.1"
LIST = b'{"items":[],"metadata":{"resourceVersion":"1"}}'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LIST), LIST)
WATCH = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Scripted:
    """A server that says one text per connection, for every request or once, and may hang up behind it."""

    def __init__(self, texts: Sequence[bytes], *, hangs_up: bool = False, pieces: int = 1 << 16) -> None:
        self.heard: list[bytes] = []
        self.serving: list[asyncio.Task[None]] = []
        self._texts = list(texts)
        self._hangs_up = hangs_up
        self._pieces = pieces
        self.port = 0

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = self._texts.pop(0) if self._texts else b""
        with contextlib.suppress(ConnectionError):
            while asked := await reader.read(1 << 16):
                self.heard.append(asked)
                for start in range(0, len(text), self._pieces):
                    writer.write(text[start : start + self._pieces])
                    await writer.drain()
                if self._hangs_up:
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def listening(server: Scripted) -> AsyncIterator[str]:
    listener = await asyncio.start_server(server, HOST, 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield f"http://{HOST}:{server.port}"
    await asyncio.gather(*server.serving)


ANSWERS = [
    ("by length", WHOLE, (200, LIST)),
    ("in chunks", WATCH + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", (200, b"abcde")),
    ("up to the end of the connection", b"HTTP/1.1 200 OK\r\n\r\nabc", (200, b"abc")),
    ("behind a 100", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", (404, b"")),
    ("without a body", b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
    ("of HTTP/1.0", b"HTTP/1.0 503 Service Unavailable\r\n\r\nno", (503, b"no")),
    ("broken off in the head", b"HTTP/1.1 200 OK\r\nContent-", ConnectionError),
    ("broken off in the body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", ConnectionError),
    ("broken off in a chunk", WATCH + b"3\r\nab", ConnectionError),
    ("nothing", b"", ConnectionError),
    ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ConnectionError),
]


@pytest.mark.parametrize("pieces", [1, 1 << 16])
@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
async def test_an_answer(text: bytes, expected: object, pieces: int) -> None:
    """An answer is read however it is framed and chopped; what is broken or no HTTP is a ConnectionError."""

    async def found() -> object:
        try:
            status = await connection.ask("GET", "/")
            return status, b"".join([part async for part in connection.body()])
        except ConnectionError:
            return ConnectionError
        finally:
            connection.close()

    server = Scripted([text], hangs_up=True, pieces=pieces)
    async with asyncio.timeout(5), listening(server):
        connection = await Connection.open(HOST, server.port, 5)

        assert expected == await found()


async def test_what_a_server_hears() -> None:
    """A request names the host as addressed, and says how long its content is when it has some."""
    server = Scripted([WHOLE])
    async with asyncio.timeout(5), listening(server):
        connection = await Connection.open(HOST, server.port, 5)
        for content in (b"", b"abc"):
            await connection.ask("POST", "/a?b=c", [("Accept", "*/*")], content)
            assert LIST == b"".join([part async for part in connection.body()])
            assert connection.is_free
        connection.close()

    first, second = server.heard
    head = b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n" % server.port
    assert (head + b"\r\n", head + b"Content-Length: 3\r\n\r\nabc") == (first, second)


@pytest.mark.parametrize(("hangs_up", "texts"), [(False, [WHOLE]), (True, [WHOLE, WHOLE])])
async def test_a_connection_is_kept(hangs_up: bool, texts: list[bytes]) -> None:
    """The next request takes the same connection, and a new one when the server has hung up meanwhile."""
    server = Scripted(texts, hangs_up=hangs_up)
    async with asyncio.timeout(5), listening(server) as url, HttpClient(url, None, "t") as client:
        await client.list(NODES)
        if hangs_up:
            assert b"" == await client._free[0]._reader.read()  # the news of the end has come
        found = await client.list(NODES)

    assert ("1", 2) == (found.resource_version, len(server.heard))


@pytest.mark.parametrize(
    ("said", "words"),
    [(b"", "failed: TimeoutError"), (WATCH, "failed: TimeoutError"), (WATCH + b"1\r\n", "failed: TimeoutError")],
    ids=["no answer", "no event", "half a chunk"],
)
async def test_a_silent_watch(said: bytes, words: str) -> None:
    """A watch on which nothing comes is taken for dead, wherever it stopped."""
    server = listening(Scripted([said]))
    async with asyncio.timeout(5), server as url, HttpClient(url, None, "t", watch_timeout=0.05) as client:
        with pytest.raises(ApiError, match=words) as caught:
            await anext(client.watch(NODES, resource_version="1"))

    assert 503 == caught.value.code


async def test_a_closed_client() -> None:
    """A client says that it is closed; nothing is asked."""
    client = HttpClient(f"http://{HOST}:1", None, "t")
    with pytest.raises(ApiError, match="is closed; use it inside `async with`"):
        await client.list(NODES)
