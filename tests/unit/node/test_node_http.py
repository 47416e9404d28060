"""HTTP of the built-in workloads, over sockets: one client per row, and who comes at a bad time."""

from __future__ import annotations

import asyncio
import math
import re
import socket
import struct
import subprocess
import sys
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import pytest
from node_waiting import soon

from netlab.http.messages import Request, Response, html, json, text
from netlab.http.server import LARGEST_BODY, READ_AHEAD, TIMEOUTS, Connections, HttpConnection, HttpService, HttpTimeouts
from netlab.serving.listener import Listener
from netlab.serving.roster import Limits, Roster

LARGE = 4 << 20  # more than the two sockets hold
SOCKET = 1 << 16


def get(path: str, *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def post(body: bytes, *headers: str) -> bytes:
    return get("/said", *headers or (f"Content-Length: {len(body)}",), method="POST") + body


def chunks(*bodies: bytes) -> bytes:
    return post(b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in (*bodies, b"")), "Transfer-Encoding: chunked")


class Site:
    """A handler with a page for each situation, and what has happened to it."""

    def __init__(self, timeouts: HttpTimeouts = TIMEOUTS) -> None:
        self.connections = Connections()
        self.service = HttpService(self.answer, self.connections, self.begin, self.finish, timeouts)
        self.busy, self.asked, self.cancelled = 0, [], []
        self.changed, self.gate = asyncio.Event(), asyncio.Event()

    async def answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        self.changed.set()
        try:
            return await PAGES[request.path](self, request)
        except asyncio.CancelledError:
            self.cancelled.append(request.path)
            raise

    async def page(self, request: Request) -> Response:
        return text(f"<{request.method} {request.target}>")

    async def said(self, request: Request) -> Response:
        return text(f"<{request.text}>")

    async def wait(self, _request: Request) -> Response:
        await self.gate.wait()
        return text("<waited>")

    async def large(self, _request: Request) -> Response:
        return Response(body=bytes(LARGE))

    async def empty(self, _request: Request) -> Response:
        return Response(status=204, body=b"not said")

    async def fail(self, _request: Request) -> Response:
        raise LookupError("nothing there")

    def begin(self) -> None:
        self.busy += 1
        self.changed.set()

    def finish(self) -> None:
        self.busy -= 1
        self.changed.set()

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


PAGES = {"/": Site.page, "/said": Site.said, "/wait": Site.wait, "/large": Site.large, "/empty": Site.empty, "/fail": Site.fail}


@asynccontextmanager
async def serving(site: Site):
    bound = socket.create_server(("127.0.0.1", 0))
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET)  # those that it accepts inherit it
    roster = Roster(Limits(1000, 1000, 1000, math.inf, math.inf))
    server = Listener("test", bound, lambda seat: HttpConnection(site.service, seat), roster)
    try:
        yield bound.getsockname()[1]
    finally:
        server.close()
        await site.connections.close(0)


async def call(port: int, words: bytes = b""):
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET)
    line.setblocking(False)
    await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=line, limit=2 * LARGE)
    writer.write(words)
    return reader, writer


async def rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    async with asyncio.timeout(5):
        heard = await reader.read()
    writer.close()
    await writer.wait_closed()
    return heard


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))


def statuses(heard: bytes) -> list[int]:
    return [int(word) for word in re.findall(rb"HTTP/1\.1 (\d+) ", heard)]


# ---- what one client says and hears
ROWS = [
    ("a page", get("/"), [200], b"<GET />"),
    ("one after the other", get("/?a=1") + get("/?b=2"), [200, 200], rb"<GET /\?a=1>.*<GET /\?b=2>$"),
    ("as a proxy is asked", get("http://y/?a=1"), [200], b"<GET http://y/"),
    ("a last request", get("/", "Connection: close") + get("/"), [200], b"Connection: close.*<GET />$"),
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", [200], b"Connection: close.*<GET />$"),
    ("HEAD has no body", get("/", method="HEAD") + get("/"), [200, 200], b"Content-Length: 8\r\n\r\nHTTP/1.1 200 [^<]*<GET />$"),
    ("no content", get("/empty") + get("/"), [204, 200], b"204 No Content\r\n(?!.*not said).*<GET />$"),
    ("a body of known length", post(b"hello") + get("/"), [200, 200], b"<hello>.*<GET />$"),
    ("a body in chunks", chunks(b"hel", b"lo") + get("/"), [200, 200], b"<hello>.*<GET />$"),
    (
        "leave asked for",
        post(b"hello", "Expect: 100-continue", "Content-Length: 5"),
        [100, 200],
        b"100 Continue\r\n\r\n.*<hello>",
    ),
    ("too much announced", post(b"", "Expect: 100-continue", f"Content-Length: {LARGEST_BODY + 1}"), [413], b"Connection: close"),
    ("no host", b"GET / HTTP/1.1\r\n\r\n", [400], b"Connection: close"),
    ("no HTTP", b"\x16\x03\x01 hello\r\n\r\n", [400], b"Connection: close"),
    ("two lengths", post(b"", "Content-Length: 1", "Content-Length: 2"), [400], b""),
    (
        "a length and chunks",
        chunks(b"hel", b"lo").replace(b"Host", b"Content-Length: 5\r\nHost") + get("/"),
        [400],
        b"Connection: close",
    ),
    ("no chunk", post(b"?\r\n", "Transfer-Encoding: chunked"), [400], b""),
    ("half a body", post(b"hel", "Content-Length: 5"), [400], b""),
    ("an unknown coding", post(b"", "Transfer-Encoding: gzip"), [501], b""),
    ("no end of headers", get("/", "X: " + 20000 * "x")[:-2], [431], b""),
    ("a tunnel", b"CONNECT y:443 HTTP/1.1\r\nHost: y\r\n\r\n", [405], b"Connection: close"),
    ("another protocol", get("/", "Connection: Upgrade", "Upgrade: websocket"), [200], b"<GET />"),
    ("a fault of the server", get("/fail") + get("/"), [500], b"Connection: close"),
    ("nothing", b"", [], b"^$"),
]


@pytest.mark.parametrize("chop", [0, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("words", "expected", "heard"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_conversation(words, expected, heard, chop):
    """Every client hears what HTTP says, however its words are cut; then it is told off or served on, and counted off."""
    site = Site()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: site.asked.append(context["message"]))
    async with serving(site) as port:
        reader, writer = await call(port)
        for piece in (words[place : place + 1] for place in range(len(words))) if chop and len(words) < 1000 else [words]:
            writer.write(piece)
            await asyncio.sleep(0)
        writer.write_eof()
        everything = await rest(reader, writer)
        await site.until(lambda: site.busy == 0)

    assert expected == statuses(everything)
    assert re.search(heard, everything, re.DOTALL), everything
    assert ("/fail" in site.asked) == ("a built-in server failed" in site.asked)


@pytest.mark.parametrize(
    "too_much",
    [post(bytes(5 * LARGEST_BODY)), chunks(*[bytes(1 << 16)] * 80)],
    ids=["of known length", "in chunks"],
)
async def test_too_large_a_body(too_much):
    """Who is still sending reads the answer nevertheless: nothing resets the connection."""
    async with serving(Site()) as port:
        reader, writer = await call(port, too_much)
        await writer.drain()
        writer.write_eof()
        everything = await rest(reader, writer)

    assert [413] == statuses(everything)


async def test_headers_of_every_answer():
    """Date, Server, type with charset and length stand in every answer."""
    async with serving(Site()) as port:
        reader, writer = await call(port, get("/"))
        writer.write_eof()
        head = (await rest(reader, writer)).decode().partition("\r\n\r\n")[0]
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])

    assert {"Server": "netlab", "Content-Type": "text/plain; charset=utf-8", "Content-Length": "7"} == {
        name: value for name, value in headers.items() if name != "Date"
    }
    assert parsedate_to_datetime(headers["Date"]).tzinfo is not None


# ---- who comes at a bad time
async def test_a_slow_handler_holds_up_its_own_client_only():
    """While one client waits, another is served, and the first one's next request waits its turn."""
    site = Site()
    async with serving(site) as port:
        first = await call(port, get("/wait") + get("/"))
        await site.until(lambda: site.asked == ["/wait"])
        second = await call(port, get("/said"))
        await one_answer(second[0])
        before = list(site.asked)
        site.gate.set()
        answers = [await one_answer(first[0]) for _ in range(2)]
        for _, writer in (first, second):
            writer.close()

    assert ["/wait", "/said"] == before
    assert [True, True] == [b"<waited>" in answers[0], b"<GET />" in answers[1]]


async def test_a_client_that_goes_away():
    """When its connection breaks its handler is cancelled and it is counted off."""
    site = Site()
    async with serving(site) as port:
        _, writer = await call(port, get("/wait"))
        await site.until(lambda: site.asked == ["/wait"])
        line = writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by a reset
        writer.close()
        await site.until(lambda: site.busy == 0)
        await asyncio.sleep(0)

    assert ["/wait"] == site.cancelled


async def test_a_client_that_does_not_read():
    """It counts as being served until it has taken the answer, and its next request waits so long."""
    site = Site()
    async with serving(site) as port:
        reader, writer = await call(port, get("/large") + get("/"))
        reader._transport.pause_reading()
        await site.until(lambda: site.asked == ["/large"])
        for _ in range(50):  # turns of the loop in which the next request would be answered
            await asyncio.sleep(0)
        before = (site.busy, list(site.asked))
        reader._transport.resume_reading()
        large, small = await one_answer(reader), await one_answer(reader)
        writer.close()

    assert (1, ["/large"]) == before
    assert (True, True) == (len(large) > LARGE, small.endswith(b"<GET />"))


async def test_a_client_that_sends_ahead():
    """It is not read from beyond a limit, and gets all its answers in the end."""
    site, count = Site(), 400
    async with serving(site) as port:
        reader, writer = await call(port, get("/wait"))
        await site.until(lambda: site.asked == ["/wait"])
        writer.write(count * get("/", "X: " + 10000 * "x"))
        connection = next(iter(site.connections._open))
        await soon(lambda: not connection._transport.is_reading())
        ahead = len(connection._http.trailing_data[0])
        site.gate.set()
        answers = [await one_answer(reader) for _ in range(count + 1)]
        writer.close()

    assert READ_AHEAD < ahead < 10 * READ_AHEAD
    assert count == sum(answer.endswith(b"<GET />") for answer in answers)


async def test_silence(monkeypatch):
    """An idle connection is closed after a while, one whose answer is due is not."""
    site, loop = Site(), asyncio.get_running_loop()
    clock = loop.time
    async with serving(site) as port:
        waiting, *idle = [await call(port, words) for words in (get("/wait"), b"", get("/")[:-2], get("/"))]
        heard = [statuses(await one_answer(idle[-1][0]))]
        await soon(lambda: "/wait" in site.asked and sum(bool(c._http.trailing_data[0]) for c in site.connections._open) == 1)
        monkeypatch.setattr(loop, "time", lambda: clock() + site.service.timeouts.keep_alive)  # the while is over
        heard += [statuses(everything) for everything in await asyncio.gather(*(rest(*client) for client in idle))]
        site.gate.set()
        answer = await one_answer(waiting[0])
        waiting[1].close()

    assert [[200], [], [], []] == heard
    assert b"<waited>" in answer


SLOW = [
    ("nothing", b"", HttpTimeouts(head=0.15), []),
    ("half the headers", get("/")[:-2], HttpTimeouts(head=0.15), []),
    ("half the second one's headers", get("/") + get("/")[:-2], HttpTimeouts(head=0.15), [200]),
    ("half a body", post(b"hel", "Content-Length: 5"), HttpTimeouts(body=0.15), []),
    ("an answer that is not read", get("/large"), HttpTimeouts(write=0.15), [200]),
]


@pytest.mark.parametrize(("words", "timeouts", "expected"), [row[1:] for row in SLOW], ids=[row[0] for row in SLOW])
async def test_slow_clients_lose_their_connection(words, timeouts, expected):
    """A client that does not finish its request, or takes nothing of its answer, is cut off (finding S3)."""
    site = Site(timeouts)
    async with serving(site) as port:
        reader, writer = await call(port, words)
        reader._transport.pause_reading()
        await soon(lambda: site.connections._open)
        await soon(lambda: not site.connections._open)
        reader._transport.resume_reading()
        try:
            heard = await rest(reader, writer)
        except ConnectionError:
            heard = bytes(reader._buffer)

    assert expected == statuses(heard)
    assert 0 == site.busy


async def test_a_client_that_sends_slowly_and_in_time_is_served():
    """The time for a body begins again with each of its parts."""
    async with serving(Site(HttpTimeouts(body=0.3))) as port:
        reader, writer = await call(port, post(b"", "Content-Length: 8"))
        for _ in range(8):
            await asyncio.sleep(0.06)
            writer.write(b"x")
        answer = await one_answer(reader)
        writer.close()

    assert answer.endswith(b"<xxxxxxxx>")


@pytest.mark.parametrize("words", [b"nonsense\r\n\r\n", get("/", "Connection: close"), get("/large", "Connection: close")])
@pytest.mark.parametrize("delay", [0, 1, 3])
async def test_clients_that_leave_early_leave_no_traceback(caplog, words, delay):
    """A reset before, while or after the last answer is sent is nothing to report (M11: OSError 107)."""
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(str(context)))
    site = Site()
    async with serving(site) as port:
        for _ in range(20):
            line = socket.create_connection(("127.0.0.1", port))
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by a reset
            line.sendall(words)
            for _ in range(delay):
                await asyncio.sleep(0)
            line.close()
        await soon(lambda: not site.connections._open)

    assert ([], [], 0) == (reported, caplog.records, site.busy)


async def test_the_end_of_sending_to_a_client_that_has_gone(caplog, monkeypatch):
    """A reset that comes between the last answer and the shutdown, which then fails with OSError 107, leaves no traceback."""
    site = Site()
    async with serving(site) as port:
        line = socket.create_connection(("127.0.0.1", port))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.sendall(get("/wait", "Connection: close"))
        await site.until(lambda: site.asked == ["/wait"])
        transport = next(iter(site.connections._open))._transport
        write = transport.write

        def write_and_lose(words: bytes) -> None:
            write(words)
            line.close()

        monkeypatch.setattr(transport, "write", write_and_lose)
        site.gate.set()
        await soon(lambda: not site.connections._open)

    assert [] == caplog.records


async def talk_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(1000))
        await writer.drain()
        await asyncio.sleep(0.001)


async def test_lingering_ends():
    """A refused client that goes on sending for ever is cut off."""
    async with serving(Site(HttpTimeouts(linger=0.02))) as port, asyncio.timeout(5):
        _, writer = await call(port, b"nonsense\r\n\r\n")
        with pytest.raises(ConnectionError):
            await talk_on(writer)
        writer.close()


@pytest.mark.parametrize(
    ("words", "expected", "patience"),
    [(b"", [], 5), (get("/")[:-2], [], 5), (get("/wait"), [200], 5), (get("/wait"), [], 0.02)],
    ids=["idle", "half a request", "being served", "for too long"],
)
async def test_close(words, expected, patience):
    """Who is idle is closed, who is being served gets the answer first, if it comes in time."""
    site = Site()
    async with serving(site) as port:
        reader, writer = await call(port, words)
        await soon(lambda: site.asked if words.endswith(b"\r\n\r\n") else site.connections._open)
        closing = asyncio.create_task(site.connections.close(patience))
        await asyncio.sleep(0)
        if expected:
            site.gate.set()
        async with asyncio.timeout(3):
            await closing
        try:
            everything = await rest(reader, writer)
        except ConnectionError:
            everything = b""

    assert (expected, 0) == (statuses(everything), site.busy)
    assert (b"Connection: close" in everything) == bool(expected)


# ---- requests and answers
@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", {}),
        ("/a%20b?x=1&x=2&y=&z=a+b%26", "/a b", {"x": "1", "y": "", "z": "a b&"}),
        ("//a/b?c", "//a/b", {"c": ""}),
        ("/go?to=http://y/z", "/go", {"to": "http://y/z"}),
        ("http://y:80/a?b=c", "/a", {"b": "c"}),
        ("http://y", "/", {}),
        ("http://[y", "/", {}),
        ("*", "*", {}),
    ],
)
def test_targets(target, path, query):
    """Path and parameters are those of the target, decoded, in whatever form it comes."""
    request = Request(target=target)

    assert (path, query) == (request.path, request.query)


@pytest.mark.parametrize(
    ("made", "body", "kind"),
    [
        (text("ü"), "ü".encode(), "text/plain; charset=utf-8"),
        (html("<p>"), b"<p>", "text/html; charset=utf-8"),
        (json({"a": 1, "b": [True, "x"]}), b'{"a": 1, "b": [true, "x"]}', "application/json; charset=utf-8"),
    ],
)
def test_bodies(made, body, kind):
    """Answers say what they are."""
    assert (body, kind) == (made.body, made.content_type)


def test_headers_are_found_in_any_case():
    """The first header of a name counts."""
    request = Request(headers=(("X-A", "1"), ("x-a", "2")))

    assert ("1", "") == (request.header("x-A"), request.header("x-b"))


def test_what_a_container_of_a_workload_loads():
    """Ten of them start at once: neither the web framework nor what the other half of netlab needs is loaded."""
    script = "import sys, netlab.workloads.container; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {
        "aiohttp",
        "json",
        "ctypes",
        "pathlib",
        "pyroute2",
        "netlab.kernel",
        "netlab.dataplane",
        "netlab.process",
        "netlab.hosts",
    }

    assert not heavy & set(done.stdout.split())
