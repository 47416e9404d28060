"""One built-in workload with its sockets, as a node's process and a container run it."""

from __future__ import annotations

import asyncio
import io
import socket
from contextlib import asynccontextmanager

import msgspec
import pytest
from node_waiting import soon

from netlab.workloads.protocol import ServerSpec
from netlab.workloads.serving import ServedWorkload

REQUEST = b"%b HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def served(server: str, *args: str, ports=(), **limits):
    spec = ServerSpec(key="u/c", pod="box", namespace="default", path="", server=server, args=args, ports=ports)
    output, news = io.StringIO(), asyncio.Event()
    workload = ServedWorkload(spec, news.set, output, **limits)
    workload.news, workload.output = news, output
    output.close = lambda: None  # to be read when the server has ended
    await workload.start()
    try:
        yield workload
    finally:
        await workload.close()


async def exchange(port: int, words: bytes) -> bytes:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(words)
        writer.write_eof()
        heard = await reader.read()
        writer.close()
        await writer.wait_closed()
    return heard


PAGES = [
    (
        ("whoami",),
        b"GET /a?b=c",
        ("200 OK", "X-Netlab-Pod: box", "X-Netlab-Client: 127.0.0.1:", "GET /a?b=c HTTP/1.1\nHost: x\n"),
    ),
    (("whoami",), b"GET /health", ("200 OK", "Content-Length: 0")),
    (("http-echo", "-text=hi"), b"GET /", ("200 OK", "\r\n\r\nhi\n")),
    (("http-echo", "-status-code=204"), b"GET /", ("204 No Content", "X-Netlab-Pod: box")),
    (("http-echo",), b"GET /health", ('{"status": "ok"}', "application/json; charset=utf-8")),
    (("agnhost", "netexec"), b"GET /echo?msg=a%20b&code=418", ("HTTP/1.1 418 ", "\r\n\r\na b")),
    (("agnhost", "netexec"), b"GET /hostname", ("\r\n\r\nbox",)),
    (("agnhost", "netexec"), b"GET /header?key=hOST", ("\r\n\r\nx",)),
    (("agnhost", "netexec"), b"GET /nonsense", ("404 Not Found", "404 page not found\n")),
    (("agnhost", "serve-hostname"), b"POST /", ("200 OK", "\r\n\r\nbox")),
]
PORT_FLAGS = {"whoami": "--port", "http-echo": "-listen", "agnhost": "--http-port", "serve-hostname": "--port"}


@pytest.mark.parametrize(("words", "line", "expected"), PAGES, ids=[f"{words[-1]} {line.decode()}" for words, line, _ in PAGES])
async def test_pages(free_port, words, line, expected):
    """A workload answers as its image does, says who it is and who was seen, and writes a line into its log."""
    port = free_port()
    flag = PORT_FLAGS[words[-1] if words[-1] in PORT_FLAGS else words[0]]
    async with served(*words, f"{flag}={port}", "--udp-port=-1") as workload:
        heard = (await exchange(port, REQUEST % line)).decode()

    assert not [piece for piece in expected if piece not in heard], heard
    assert f'"{line.decode()}"' in workload.output.getvalue()


SAID = [
    ("HTTP", REQUEST % b"GET /x", b"GET /x HTTP/1.1\nHost: x\n\n"),
    ("HTTP with a body", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", b"\n\nhi"),
    ("anything else", b"hello", b"hello"),
    ("what begins like HTTP", b"GETTY\n", b"GETTY\n"),
    ("the beginning of HTTP", b"GE", b"GE"),
    ("nothing", b"", b""),
]


@pytest.mark.parametrize("chop", [0, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("words", "end"), [row[1:] for row in SAID], ids=[row[0] for row in SAID])
async def test_echo(free_port, words, end, chop):
    """The first bytes decide: HTTP is answered, everything else comes back."""
    port = free_port()
    async with served("echo", ports=((port, "TCP"),)) as workload:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (words[place : place + 1] for place in range(len(words))) if chop else [words]:
            writer.write(piece)
            await asyncio.sleep(0)
        writer.write_eof()
        async with asyncio.timeout(5):
            heard = await reader.read()
        writer.close()

    assert (end, 0) == (heard[-len(end) :] if end else heard, workload.status.busy)


async def test_draining(free_port):
    """A client of a terminating pod is sent away behind its answer."""
    port = free_port()
    async with served("whoami", f"--port={port}") as workload:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST % b"GET /health")
        first = await reader.readuntil(b"\r\n\r\n")
        workload.spec = msgspec.structs.replace(workload.spec, draining=True)
        writer.write(REQUEST % b"GET /health")
        async with asyncio.timeout(5):
            second = await reader.read()
        writer.close()

    assert [False, True] == [b"Connection: close" in answer for answer in (first, second)]
    assert 0 == workload.status.busy


QUESTION = REQUEST % b"GET /hostname"


async def test_the_end_serves_who_is_late(free_port):
    """S8: who has connected before the end, and sends the first request after it, is answered."""
    port = free_port()
    async with netexec(port) as workload:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await soon(lambda: workload._connections._open)
        workload.end()
        await asyncio.sleep(0.05)
        assert workload.code is None
        writer.write(QUESTION)
        async with asyncio.timeout(5):
            answer = await reader.read()
            await workload.news.wait()
        writer.close()

    assert (True, 0) == (answer.startswith(b"HTTP/1.1 200 OK"), workload.status.code)


async def test_the_end_serves_who_waits_in_the_kernel(free_port):
    """S8: connections not accepted yet and datagrams not read yet are answered, too."""
    port = free_port()
    async with netexec(port) as workload:
        client = socket.create_connection(("127.0.0.1", port))  # nobody accepts it before the loop runs again
        asker = socket.socket(type=socket.SOCK_DGRAM)
        asker.connect(("127.0.0.1", port))
        client.send(QUESTION)
        for _ in range(9):
            asker.send(b"hostname")
        workload.end()
        async with asyncio.timeout(5):
            await workload.news.wait()
        with client, asker:
            client.settimeout(5)
            asker.settimeout(5)
            answer = b"".join(iter(lambda: client.recv(4096), b""))
            datagrams = [asker.recv(100) for _ in range(9)]

    assert (True, 9) == (answer.startswith(b"HTTP/1.1 200 OK"), len(datagrams))


def netexec(port):
    return served("agnhost", "netexec", f"--http-port={port}", f"--udp-port={port}")


@pytest.mark.parametrize("words", [b"", b"GET / HT"], ids=["silent", "half a request"])
async def test_the_end_does_not_wait_for_ever(free_port, words):
    """A client that has connected and says nothing holds up the end of a server for a moment only."""
    port = free_port()
    async with served("whoami", f"--port={port}", first_request_seconds=0.1) as workload:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(words)
        workload.end()
        async with asyncio.timeout(5):
            await workload.news.wait()
            await reader.read()
        writer.close()

    assert 0 == workload.status.code


async def test_exit_by_a_request(free_port):
    """A program that is asked to end still answers, then it is gone with the code it was asked for."""
    port = free_port()
    async with served("agnhost", "netexec", f"--http-port={port}", "--udp-port=-1") as workload:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST % b"GET /exit?code=3")
        async with asyncio.timeout(5):
            await workload.news.wait()
            await workload.close()
            heard = await reader.read()
        writer.close()

        assert (3, True) == (workload.status.code, heard.startswith(b"HTTP/1.1 200 OK"))
    with pytest.raises(ConnectionRefusedError):
        await exchange(port, b"")


@pytest.mark.parametrize("words", [b"", b"G", b"hello"], ids=["silent", "undecided", "echoing"])
async def test_the_end_of_an_echo(free_port, words):
    """A server that ends leaves no connection behind, whatever has been said on it."""
    port = free_port()
    async with served("echo", ports=((port, "TCP"),)) as workload:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(words)
        async with asyncio.timeout(5):
            await soon(lambda: words == getattr(next(iter(workload._connections._open), None), "_seen", None))
            await workload.close()
            await reader.read()
        writer.close()

    assert 0 == workload.status.busy


async def test_a_port_that_is_taken():
    """The server ends with the words of the kernel."""
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        async with served("whoami", f"--port={port}") as workload:
            status = workload.status

    assert (1, f"bind {port}/TCP: Address already in use") == (status.code, status.message)


@pytest.mark.parametrize("server", [("whoami",), ("agnhost", "netexec"), ("http-echo",)])
async def test_idle_clients_do_not_keep_others_out(free_port, server):
    """A pod holds a bounded number of connections; a new client takes the place of the longest idle one (finding S3)."""
    port = free_port()
    flags = {"whoami": ("-port", str(port)), "agnhost": (f"--http-port={port}",), "http-echo": (f"-listen=:{port}",)}
    async with served(*server, *flags[server[0]], most_connections=8) as workload:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        answer = await exchange(port, REQUEST % b"GET /")
        held = len(workload._roster.seats)
        for line in idle:
            line.close()

    assert answer.startswith(b"HTTP/1.1 200")
    assert held <= 8
