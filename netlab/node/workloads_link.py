"""The kubelet's end of the conversation with a node's workloads process (`netlab.node.workloads_protocol`).

A conversation is two tasks, one that sends and one that receives; the end of either is the end of both, and whatever ended
it is logged. Then the link connects again, after a pause that grows until the process has answered: what breaks the
conversation may well break the next one, too. A server that cannot be put into a message is refused before
(`netlab.node.netns_pods`), so one server never breaks the conversation about the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from netlab.containment import Containment
from netlab.files import socket_address
from netlab.node.workloads_protocol import LONGEST_LINE, Desired, Report, ServerSpec

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 1.0  # between attempts to connect while the process is being (re)started
log = logging.getLogger("netlab.node")


class WorkloadsLink:
    """Keeps one node's process informed; `on_report` hears every report that answers the newest desired set."""

    def __init__(self, path: Path, on_report: Callable[[Report], None]) -> None:
        self._path = path
        self._on_report = on_report
        self._desired = Desired(version=0)
        self._answered = -1  # the version of the last report of the process that is there now
        self._changed = asyncio.Event()
        self._broken = Containment(log, "conversation", time.monotonic)

    @property
    def settled(self) -> bool:
        """Tell whether the process has answered for all that is wanted; one that died and came back has not."""
        return not self._desired.servers or self._answered == self._desired.version

    def want(self, servers: Sequence[ServerSpec]) -> None:
        """Say what shall run on the node from now on; the same set again is no news."""
        if tuple(servers) != self._desired.servers or self._desired.version == 0:
            self._desired = Desired(version=self._desired.version + 1, servers=tuple(servers))
            self._changed.set()

    async def run(self) -> None:
        """Connect, talk, connect again, until cancelled."""
        pause = FIRST_PAUSE
        while True:
            answered = False
            with self._broken.contain(self._path.name) as attempt:
                answered = await self._converse()
            pause = FIRST_PAUSE if answered else min(2 * pause, LONGEST_PAUSE)
            if not answered or attempt.error is not None:
                await asyncio.sleep(pause)  # a socket file that appears gives no event

    async def _converse(self) -> bool:
        """Talk with the process until one side ends it; tell whether it has answered at all."""
        try:
            with socket_address(self._path) as address:
                reader, writer = await asyncio.open_unix_connection(address, limit=LONGEST_LINE)
        except (ConnectionError, FileNotFoundError):
            return False
        self._changed.set()  # whoever is there now may know nothing
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
