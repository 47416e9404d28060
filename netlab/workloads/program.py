"""The workloads process of a node: holds the listening sockets of all built-in workloads of the node's pods.

One process per node, so that a thousand pods do not need a thousand interpreters. It contains nothing of Kubernetes: the
kubelet sends the desired set (`netlab.workloads.protocol`), it starts and stops servers and reports. It does not
notice when the daemon goes away; the next one connects and finds everything serving.

Each server fails alone: a failure at its start becomes its exit code and last message, and the protocol continues.
It serves whoever connects, so it has no capability: a child makes its sockets (`netlab.workloads.sockets`). When that has
ended, so does this process; the daemon starts both again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
from collections.abc import Iterable
from pathlib import Path

import msgspec

from netlab.containment import Contained
from netlab.files import socket_address
from netlab.kernel import privileges
from netlab.process.log_files import CONTAINER, RotatingFile
from netlab.process.records import SOCKETS_PREFIX
from netlab.serving.descriptors import raise_limit
from netlab.state import StateDirectory
from netlab.workloads.protocol import LONGEST_LINE, Desired, Report, ServerSpec
from netlab.workloads.serving import Bind, ServedWorkload
from netlab.workloads.sockets import SocketMaker

log = logging.getLogger("netlab.workloads")


def main(arguments: dict[str, str]) -> None:
    """Serve until SIGTERM. Arguments: `lab`, `node`, `state` (the state directory's path)."""
    raise_limit()
    state = StateDirectory(arguments["lab"], Path(arguments["state"]))
    path = state.socket(socket_name(arguments["node"]))
    path.unlink(missing_ok=True)  # of a process that was killed
    sockets = SocketMaker.start(f"netlab: {state.lab} {SOCKETS_PREFIX}{arguments['node']}")
    privileges.limit(())
    try:
        asyncio.run(_serve(path, sockets))
    finally:
        path.unlink(missing_ok=True)
        sockets.close()


def socket_name(node: str) -> str:
    """Return the name of a node's Unix socket, which is also the name of its process."""
    return f"workloads-{node}"


async def _serve(path: Path, sockets: SocketMaker) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    asyncio.get_running_loop().add_reader(sockets, ended.set)
    workloads = Workloads(sockets)
    with socket_address(path) as address:
        server = await asyncio.start_unix_server(workloads.converse, address, limit=LONGEST_LINE)
        log.info("workloads=listening socket=%s", path)
        await ended.wait()
        server.close()
    await workloads.carry_out(Desired(version=0))


@dataclasses.dataclass
class Workloads:
    """All servers of the node, and the listeners to them. `bind` makes their sockets."""

    bind: Bind
    servers: dict[str, ServedWorkload] = dataclasses.field(default_factory=dict)
    version: int = 0
    listeners: set[asyncio.StreamWriter] = dataclasses.field(default_factory=set)
    busy: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take desired sets from one connection until it closes."""
        self.listeners.add(writer)
        decoder = msgspec.json.Decoder(Desired)
        try:
            async for line in reader:
                desired = decoder.decode(line)
                await self.carry_out(desired)
                self.version = desired.version
                self.report()
        except (ConnectionError, msgspec.DecodeError, RecursionError, ValueError) as error:
            log.warning("conversation=broken error=%s", error)
        finally:
            self.listeners.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):  # the daemon was killed: it will connect again
                await writer.wait_closed()

    async def carry_out(self, desired: Desired) -> None:
        """Stop what is not wanted any more, then start what is new; the same run of a server is left alone."""
        async with self.busy:
            wanted = {spec.key: spec for spec in desired.servers}
            gone = [key for key, served in self.servers.items() if _replaced(served.spec, wanted.get(key))]
            await asyncio.gather(*(self._end(key, self.servers.pop(key)) for key in gone))
            for key, spec in wanted.items():
                if key in self.servers:
                    self._update(self.servers[key], spec)
                else:
                    await self._start(spec)

    async def _start(self, spec: ServerSpec) -> None:
        served = self.servers[spec.key] = ServedWorkload(spec, self.report, None, self.bind)
        await served.start(lambda: open_log(spec.log))
        if spec.ending and served.code is None:
            served.end()

    async def _end(self, key: str, served: ServedWorkload) -> None:
        with Contained() as attempt:
            await served.close()
        if attempt.error is not None:
            log.error("server=%s state=not-closed", key, exc_info=attempt.error)

    def _update(self, served: ServedWorkload, spec: ServerSpec) -> None:
        """Take over `draining` and `ending`; a run's other settings are those it was started with."""
        if (spec.draining, spec.ending) != (served.spec.draining, served.spec.ending):
            served.spec = msgspec.structs.replace(served.spec, draining=spec.draining, ending=spec.ending)
        if spec.ending:
            served.end()

    def report(self) -> None:
        """Send every listener the state of all servers."""
        statuses = tuple(served.status for served in self.servers.values())
        line = msgspec.json.encode(Report(version=self.version, servers=statuses)) + b"\n"
        for writer in _alive(self.listeners):
            writer.write(line)


def open_log(path: str) -> RotatingFile:
    """Return a container's log, to be written behind what earlier runs wrote."""
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return RotatingFile(Path(path), CONTAINER)


def _replaced(present: ServerSpec, wanted: ServerSpec | None) -> bool:
    return wanted is None or wanted.identity != present.identity


def _alive(writers: Iterable[asyncio.StreamWriter]) -> list[asyncio.StreamWriter]:
    return [writer for writer in writers if not writer.is_closing()]
