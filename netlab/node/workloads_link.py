"""The kubelet's end of the conversation with a node's workloads process (`netlab.node.workloads_protocol`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

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
            try:
                with socket_address(self._path) as address:
                    reader, writer = await asyncio.open_unix_connection(address, limit=LONGEST_LINE)
            except (ConnectionError, FileNotFoundError):
                await asyncio.sleep(pause)  # a socket file that appears gives no event
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            await self._talk(reader, writer)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._changed.set()  # whoever is there now may know nothing
        sending = asyncio.create_task(self._send(writer), name=f"workloads {self._path.name}")
        decoder = msgspec.json.Decoder(Report)
        try:
            async for line in reader:
                report = decoder.decode(line)
                self._answered = report.version
                self._on_report(report)
        except (ConnectionError, msgspec.DecodeError, ValueError) as error:
            log.warning("workloads=%s conversation=broken error=%s", self._path.name, error)
        finally:
            self._answered = -1
            sending.cancel()
            writer.close()
            await asyncio.wait([sending])  # whose end is no news; that we are cancelled meanwhile is

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # the reading side sees it and connects anew
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._desired.version:
                    writer.write(msgspec.json.encode(self._desired) + b"\n")
                    await writer.drain()
