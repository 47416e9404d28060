"""The accept loop, over loopback sockets (finding S3)."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from netlab.controlplane.certificates import ensure_pki
from netlab.serving import descriptors
from netlab.serving.listener import Listener
from netlab.serving.roster import Limits, Roster, Seat

LIMITS = Limits(total=64, per_peer=16, strangers_per_peer=8, stranger_seconds=60, idle_seconds=60)


class Echo(asyncio.Protocol):
    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._seat.leave()


@asynccontextmanager
async def listening(roster: Roster, **options: object) -> AsyncIterator[Listener]:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    made = Listener("test", bound, Echo, roster, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()
        for seat in tuple(roster.seats):
            seat.close()
        await until(lambda: not roster.seats)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- no event tells it
            await asyncio.sleep(0.005)


async def echoed(port: int) -> bytes:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        answer = await reader.read(5)
        writer.close()
        return answer


async def test_listener_serves_while_one_peer_holds_idle_connections() -> None:
    """A hundred idle connections of the same address: the bound holds and a new connection is served."""
    roster = Roster(LIMITS)
    async with listening(roster) as made, AsyncExitStack() as stack:
        port = made.socket.getsockname()[1]
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            await asyncio.sleep(0)
        await until(lambda: roster.evicted >= 100 - LIMITS.strangers_per_peer)
        answer = await echoed(port)

        assert len(roster.seats) <= LIMITS.strangers_per_peer
    assert b"hello" == answer


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
@pytest.mark.parametrize("idle", [True, False], ids=["idle connections", "none idle"])
async def test_listener_survives_a_process_without_descriptors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, idle: bool
) -> None:
    """It closes the longest idle connection, or pauses; it neither spins nor floods the log, and serves afterwards."""
    roster = Roster(LIMITS)
    attempts = 0
    async with listening(roster, retry_accept_seconds=0.02) as made, AsyncExitStack() as stack:
        port = made.socket.getsockname()[1]
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        await until(lambda: len(roster.seats) == 1)
        if not idle:
            next(iter(roster.seats)).begin()

        def accept(_: socket.socket) -> None:
            nonlocal attempts
            attempts += 1
            raise OSError(number, "none left")

        with monkeypatch.context() as broken:
            broken.setattr(socket.socket, "accept", accept)
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            await until(lambda: attempts >= 3)
            await asyncio.sleep(0.05)
            tried = attempts
        answer = await echoed(port)

    assert b"hello" == answer
    assert idle == bool(roster.evicted)
    assert tried < 12
    assert 1 == sum("cannot accept" in record.message for record in caplog.records)


async def test_listener_logs_refusals_once_per_interval(caplog: pytest.LogCaptureFixture) -> None:
    """Fifty refused connections are one line."""
    roster = Roster(Limits(4, 4, 1, 60, 60))
    async with listening(roster) as made, AsyncExitStack() as stack:
        port = made.socket.getsockname()[1]
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        await until(lambda: len(roster.seats) == 1)
        next(iter(roster.seats)).begin()
        for _ in range(50):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        await until(lambda: roster.refused == 50)

    assert 1 == sum("refused a connection" in record.message for record in caplog.records)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["silent", "half a hello"])
async def test_listener_ends_a_tls_handshake_at_its_deadline(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, said: bytes
) -> None:
    """A client that connects and does not speak TLS loses its connection, without a line in the log."""
    tls = ensure_pki(tmp_path, ["127.0.0.1"]).server_context()
    roster = Roster(Limits(8, 8, 8, 0.1, 60))
    with caplog.at_level(logging.INFO):
        async with listening(roster, tls=tls, sweep_seconds=0.02) as made:
            reader, writer = await asyncio.open_connection(*made.socket.getsockname())
            writer.write(said)
            async with asyncio.timeout(5):
                try:
                    heard = await reader.read()
                except ConnectionError:
                    heard = b""
            await until(lambda: not roster.seats)
            writer.close()

    assert (b"", []) == (heard, caplog.records)


async def test_listener_ends_a_client_that_does_not_read() -> None:
    """With `stall_seconds` the kernel ends a connection whose client takes nothing of what is due to it."""
    roster = Roster(LIMITS)
    async with listening(roster, stall_seconds=0.3) as made:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(made.socket.getsockname())
            await until(lambda: len(roster.seats) == 1)
            client.setblocking(False)
            sent = 0
            try:
                while sent < 1 << 24:
                    sent += client.send(bytes(65536))
                    await asyncio.sleep(0)
            except BlockingIOError:
                pass
            await until(lambda: not roster.seats)

    assert sent


async def test_listener_close_ends_what_is_being_accepted(tmp_path: Path) -> None:
    """A handshake under way does not outlive the listener, nor does its descriptor."""
    tls = ensure_pki(tmp_path, ["127.0.0.1"]).server_context()
    roster = Roster(LIMITS)
    async with listening(roster, tls=tls) as made:
        reader, writer = await asyncio.open_connection(*made.socket.getsockname())
        await until(lambda: len(roster.seats) == 1)
        made.close()
        async with asyncio.timeout(5):
            try:
                heard = await reader.read()
            except ConnectionError:
                heard = b""
        writer.close()

    assert (b"", {}) == (heard, roster.seats)


@pytest.mark.parametrize(
    ("soft", "wanted", "expected"), [(64, 2048, 48), (1024, 2048, 768), (1 << 20, 2048, 2048), (-1, 2048, 2048), (1, 2048, 1)]
)
def test_room_leaves_descriptors_for_the_process(monkeypatch: pytest.MonkeyPatch, soft: int, wanted: int, expected: int) -> None:
    """A quarter of the limit of open files is not for connections."""
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (soft, soft))

    assert expected == descriptors.room(wanted)
