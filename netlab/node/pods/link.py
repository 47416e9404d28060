"""The kubelet's end of its connections to built-in workloads (`netlab.workloads.protocol`).

Runtime `netns`: `WorkloadsLink` is the connection to a node's workloads process. Runtime
`docker`: `ReadySocket` receives from each container that its server listens; the engine reports the
rest.

A connection is two tasks, one that sends and one that receives; the end of either is the end of both, and whatever ended
it is logged. Then the link connects again, after a pause that grows until the process has answered: what breaks the
connection may well break the next one, too. A server that cannot be put into a message is refused before
(`netlab.node.pods.netns.pods`), so one server never breaks the connection for the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from netlab.containment import Containment
from netlab.files import socket_address
from netlab.node.pods.builtin import run_key
from netlab.node.pods.runtime import RunKey
from netlab.state import StateDirectory
from netlab.workloads.protocol import LONGEST_LINE, Desired, Report, ServerSpec, ServerStatus

READY = "ready"  # the name of the socket for `ReadySocket` among the lab's
ANYBODY_MAY_WRITE = 0o666  # containers run as user nobody; it is mounted into those of servers
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.01, 1.0  # between attempts to connect while the process is being (re)started
log = logging.getLogger("netlab.node")


class WorkloadsLink:
    """Keeps one node's process informed; `on_report` receives every report that answers the newest desired set."""

    def __init__(self, path: Path, on_report: Callable[[Report], None]) -> None:
        self._path = path
        self._on_report = on_report
        self._desired = Desired(version=0)
        self._answered = -1  # the version of the last report of the process that is there now
        self._changed = asyncio.Event()
        self._broken = Containment(log, "conversation", time.monotonic)

    @property
    def settled(self) -> bool:
        """Return whether the process has answered for the whole desired set; a restarted one has not."""
        return not self._desired.servers or self._answered == self._desired.version

    def want(self, servers: Sequence[ServerSpec]) -> None:
        """Set what shall run on the node from now on; the same set again is not sent."""
        if tuple(servers) != self._desired.servers or self._desired.version == 0:
            self._desired = Desired(version=self._desired.version + 1, servers=tuple(servers))
            self._changed.set()

    async def run(self) -> None:
        """Connect, exchange messages, reconnect, until cancelled."""
        pause = FIRST_RETRY_SECONDS
        while True:
            answered = False
            with self._broken.contain(self._path.name) as attempt:
                answered = await self._converse()
            pause = FIRST_RETRY_SECONDS if answered else min(2 * pause, LONGEST_RETRY_SECONDS)
            if not answered or attempt.error is not None:
                await asyncio.sleep(pause)  # a socket file that appears gives no event

    async def _converse(self) -> bool:
        """Exchange messages until one side ends; return whether the process has answered at all."""
        try:
            with socket_address(self._path) as address:
                reader, writer = await asyncio.open_unix_connection(address, limit=LONGEST_LINE)
        except (ConnectionError, FileNotFoundError):
            return False
        self._changed.set()  # a new process has no state yet
        sending = asyncio.create_task(self._send(writer), name=f"workloads {self._path.name} sending")
        receiving = asyncio.create_task(self._receive(reader), name=f"workloads {self._path.name} receiving")
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answered, self._answered = self._answered >= 0, -1
            for task in (sending, receiving):
                task.cancel()
            writer.close()
            ends = await asyncio.gather(sending, receiving, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return answered

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        decoder = msgspec.json.Decoder(Report)
        with contextlib.suppress(ConnectionError):  # the process has ended
            async for line in reader:
                report = decoder.decode(line)
                self._answered = report.version
                self._on_report(report)

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._desired.version:
                    writer.write(msgspec.json.encode(self._desired) + b"\n")
                    await writer.drain()


class ReadySocket:
    """A datagram socket; calls `listens` with each run whose server reports that it listens."""

    def __init__(self, state: StateDirectory, listens: Callable[[RunKey], None]) -> None:
        self.path = Path(state.socket(READY))
        self._listens = listens
        self._transport: asyncio.BaseTransport | None = None

    async def open(self) -> None:
        """Open the socket; replace that of an earlier attempt."""
        self.close()
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        with socket_address(self.path) as address:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _ReadyProtocol(self._listens), local_addr=address, family=socket.AF_UNIX
            )
        self.path.chmod(ANYBODY_MAY_WRITE)

    def close(self) -> None:
        """Close the socket."""
        if self._transport:
            self._transport.close()


class _ReadyProtocol(asyncio.DatagramProtocol):
    """Datagram protocol for `ServerStatus` messages; drops malformed ones."""

    def __init__(self, listens: Callable[[RunKey], None]) -> None:
        self._listens = listens

    def datagram_received(self, data: bytes, _addr: object) -> None:
        try:
            status = msgspec.json.decode(data, type=ServerStatus)
        except (msgspec.DecodeError, RecursionError):
            return
        self._listens(run_key(status))
