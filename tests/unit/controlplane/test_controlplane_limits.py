"""Clients without a token, slow clients and clients that do not read, against the API server (findings S3, M5, M11)."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from netlab.api.resources import CONFIG_MAPS
from netlab.controlplane import server
from netlab.controlplane.api import Api
from netlab.controlplane.connections import TIMEOUTS, ApiTimeouts
from netlab.controlplane.local import LocalClient
from netlab.controlplane.server import ServerHandle, pieces, serve
from netlab.controlplane.store import Event, render
from netlab.controlplane.sync import SyncClient

ADMIN = b"Authorization: Bearer admin-token\r\n"
CONFIGS = b"/api/v1/namespaces/default/configmaps"
CONNECTIONS = 1100  # more than the default limit of open files
LOG_LIMIT = 20_000  # bytes of log that an attack may cause


@dataclass
class ApiProcess:
    """A server of its own: `api_process.py`."""

    process: subprocess.Popen[str]
    port: int
    authority: Path
    door: Path
    log: Path

    def ask(self) -> tuple[int, int]:
        """Return how many descriptors it has open and its memory in KiB."""
        stdin, stdout = streams(self.process)
        stdin.write("\n")
        stdin.flush()
        descriptors, memory = stdout.readline().split()
        return int(descriptors), int(memory)

    def client(self, *, door: bool = False) -> SyncClient:
        return SyncClient(
            f"https://127.0.0.1:{self.port}", self.authority, "admin-token", timeout=10, door=self.door if door else None
        )


def streams(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout


@contextmanager
def api_process(limit: int, folder: Path, near: Path) -> Iterator[ApiProcess]:
    door, log = near / "api", folder / "log"
    words = [sys.executable, str(Path(__file__).with_name("api_process.py")), str(limit), str(folder), str(door)]
    with log.open("w") as errors:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        with process:
            port = int(streams(process)[1].readline())
            yield ApiProcess(process, port, folder / "ca.crt", door, log)
            streams(process)[0].close()
            assert 0 == process.wait(10)
    finally:
        process.kill()


def connect(stack: ExitStack, port: int, source: str, said: bytes = b"") -> socket.socket:
    line = stack.enter_context(socket.socket())
    line.bind((source, 0))
    line.settimeout(5)
    line.connect(("127.0.0.1", port))
    line.sendall(said)
    return line


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize(
    ("limit", "sources", "said"),
    [(64, 1, b""), (64, 30, b""), (1024, 1, b""), (1024, 1, b"\x16\x03\x01"), (1024, 60, b""), (1024, 1, b"GET / HTTP/1.1\r\n")],
    ids=["64, one peer", "64, many peers", "1024, one peer", "half a handshake", "1024, many peers", "no TLS"],
)
def test_api_serves_under_idle_connections(tmp_path: Path, near: Path, limit: int, sources: int, said: bytes) -> None:
    """1,100 connections of clients without a token: the others are served within seconds, and the log stays small."""
    with api_process(limit, tmp_path, near) as api, ExitStack() as stack:
        kept = stack.enter_context(api.client())
        kept.list(CONFIG_MAPS)  # its connection is known from now on
        start = time.monotonic()
        for number in range(CONNECTIONS):
            connect(stack, api.port, f"127.0.0.{2 + number % sources}" if sources > 1 else "127.0.0.1", said)
        kept.list(CONFIG_MAPS)
        for door in (False, True):
            with api.client(door=door) as fresh:
                fresh.list(CONFIG_MAPS)
        seconds = time.monotonic() - start
        descriptors, _ = api.ask()
        log = api.log.read_text()

    assert seconds < 15
    assert descriptors <= limit
    assert len(log) < LOG_LIMIT, log[:2000]
    assert "Traceback" not in log


def test_api_log_stays_small_under_nonsense(tmp_path: Path, near: Path) -> None:
    """200 requests that are not HTTP, over TLS and without a token, leave no tracebacks."""
    with api_process(1024, tmp_path, near) as api, ExitStack() as stack:
        tls = ssl.create_default_context(cafile=str(api.authority))
        for _ in range(200):
            with tls.wrap_socket(connect(stack, api.port, "127.0.0.1"), server_hostname="127.0.0.1") as line:
                line.sendall(b"NONSENSE\r\n\r\n")
                assert b"400" in line.recv(1000)
        log = api.log.read_text()

    assert (len(log) < LOG_LIMIT, False) == (True, "Traceback" in log), log[:2000]


@pytest.mark.usefixtures("many_files")
def test_api_cuts_watchers_that_do_not_read(tmp_path: Path, near: Path) -> None:
    """Watchers over TLS that never read, up to the bound of one peer, under 300 writes of 20 kB: memory is bounded."""
    with api_process(8192, tmp_path, near) as api, ExitStack() as stack:
        tls = ssl.create_default_context(cafile=str(api.authority))
        _, before = api.ask()
        for _ in range(200):
            line = tls.wrap_socket(connect(stack, api.port, "127.0.0.1"), server_hostname="127.0.0.1")
            stack.enter_context(line)
            line.sendall(b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n" + ADMIN + b"\r\n")
        with api.client(door=True) as writer:
            for number in range(300):
                body = {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": f"c{number % 10}"},
                    "data": {"k": "v" * 20_000},
                }
                if number < 10:
                    writer.create(CONFIG_MAPS, body)
                else:
                    writer.update(CONFIG_MAPS, body)
        _, after = api.ask()

    assert (after - before) / 200 < 400, (before, after)  # KiB per watcher


# ---- in process
@asynccontextmanager
async def served(api: Api, timeouts: ApiTimeouts = TIMEOUTS) -> AsyncIterator[tuple[ServerHandle, int]]:
    bound = socket.create_server(("127.0.0.1", 0))
    handle = await serve(api, [bound], None, timeouts=timeouts)
    try:
        yield handle, bound.getsockname()[1]
    finally:
        await handle.close()


async def hear(port: int, *said: bytes) -> bytes:
    """Say something, piece by piece, and return everything that comes until the server closes."""
    async with asyncio.timeout(8):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in said:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        try:
            return await reader.read()
        finally:
            writer.close()


SLOW = [
    ("nothing", [b""], b""),
    ("half the headers", [b"GET / HTTP/1.1\r\nHost"], b""),
    ("headers without end", [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 5], b""),
    ("no token, then silence", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], b"HTTP/1.1 401"),
    ("/healthz, then silence", [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], b"HTTP/1.1 200"),
    (
        "half a body",
        [
            b"POST "
            + CONFIGS
            + b" HTTP/1.1\r\nHost: x\r\n"
            + ADMIN
            + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        ],
        b"HTTP/1.1 408",
    ),
    ("known, then silence", [b"GET " + CONFIGS + b" HTTP/1.1\r\nHost: x\r\n" + ADMIN + b"\r\n"], b"HTTP/1.1 200"),
    (
        "known, then half the headers",
        [b"GET " + CONFIGS + b" HTTP/1.1\r\nHost: x\r\n" + ADMIN + b"\r\n", b"GET / HTTP/1.1\r\nHo"],
        b"HTTP/1.1 200",
    ),
]


@pytest.mark.parametrize(("said", "heard"), [row[1:] for row in SLOW], ids=[row[0] for row in SLOW])
async def test_api_ends_slow_clients(api: Api, said: list[bytes], heard: bytes) -> None:
    """A client that does not finish what it began, or says nothing more, loses its connection."""
    idle = 0.3 if ADMIN in said[0] else 60  # a stranger's deadline is its own
    timeouts = ApiTimeouts(stranger=0.2, idle=idle, body=0.2, linger=0.2, sweep=0.02)
    async with served(api, timeouts) as (_, port):
        everything = await hear(port, *said)

    assert everything.startswith(heard)
    assert bool(everything) == bool(heard)


BOTH = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize("token", [ADMIN, b""], ids=["known", "stranger"])
@pytest.mark.parametrize("framing", [BOTH, b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"])
async def test_api_closes_after_two_framings(api: Api, token: bytes, framing: bytes) -> None:
    """Content-Length with Transfer-Encoding: one answer, then the connection is closed (RFC 9112, 6.1)."""
    head = b"POST " + CONFIGS + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + token + framing
    async with served(api) as (_, port):
        everything = await hear(port, head + b"\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")

    assert 1 == everything.count(b"HTTP/1.")
    assert b" 400 " in everything[:13]


async def test_api_cuts_a_watcher_that_does_not_read(api: Api, client: LocalClient, caplog: pytest.LogCaptureFixture) -> None:
    """Its connection ends after `ApiTimeouts.watch_write` seconds, another watcher reads on."""
    words = b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nHost: x\r\n" + ADMIN + b"\r\n"
    made = await client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    async with served(api, ApiTimeouts(watch_write=0.3)) as (handle, port):
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", port))
        stuck.sendall(words)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(words)
        read = asyncio.create_task(_bytes_of(reader))
        watching: set[Any] = set()
        async with asyncio.timeout(20):
            number = 0
            while "watch=cut" not in caplog.text:
                number += 1
                made = await client.update(CONFIG_MAPS, {**made, "data": {"k": str(number) + "v" * 100_000}})
                await asyncio.sleep(0.01)
        watching = set(handle.listeners)
        await client.update(CONFIG_MAPS, {**made, "data": {"k": "the last"}})
        async with asyncio.timeout(5):
            await read
        stuck.close()
        writer.close()

    assert watching
    assert 1 == caplog.text.count("watch=cut")


async def _bytes_of(reader: asyncio.StreamReader) -> None:
    seen = b""
    while b"the last" not in seen:
        seen = seen[-20:] + await reader.read(1 << 20)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([10], [10]),
        ([10, 20], [30]),
        ([server.PIECE - 1, 1, 1], [server.PIECE, 1]),
        ([1, 3 * server.PIECE, 1], [1, 3 * server.PIECE, 1]),
    ],
)
def test_pieces_of_a_watch(sizes: list[int], expected: list[int]) -> None:
    """Events are joined up to PIECE bytes; none is cut."""
    stored = render({"metadata": {"name": "x", "resourceVersion": "1"}})
    batch = [Event("ADDED", stored, None, bytes(size)) for size in sizes]

    assert expected == [len(piece) for piece in pieces(batch)]
    assert json.dumps(sum(sizes)) == json.dumps(sum(expected))
