"""The daemon's side of the spawner: start processes, receive their end (theory: `zygote`).

Before any thread or event loop: `spawner = Spawner.start(state, {"agent": agent.main, "workloads": workloads.main})`.
Then inside the event loop: `spawner.attach(on_exit)`, `pid = await spawner.spawn(ProcessSpec(name="agent-node1", ...))`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from netlab.containment import Contained
from netlab.errors import LabError
from netlab.process import records, zygote
from netlab.process.enter import exit_code
from netlab.process.records import ProcessRecord
from netlab.state import StateDirectory

CHUNK = 1 << 16
log = logging.getLogger("netlab.process")


@dataclass(frozen=True)
class ProcessSpec:
    """A process of the lab: `entry` names a function given to `Spawner.start`, run in `namespace` ("": the host's).

    It keeps only `capabilities` (`netlab.kernel.privileges`).
    """

    name: str
    entry: str
    arguments: dict[str, str]
    log: str
    namespace: str = ""
    reads: tuple[str, ...] = ()  # files that it reads only when it starts
    socket: str = ""  # the Unix socket at which it serves, if it does
    title: str = ""  # what ps shows after "netlab: <lab> "; if empty, the name
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContainerSpec:
    """A pod's command. `files` is the pod's folder (resolv.conf, hosts, hostname); "" leaves the machine's files.

    The lab's log keeper writes `log`. If the command is not `kept`, it writes to the file or pipe `log` itself.
    It keeps only `capabilities`.
    """

    name: str
    namespace: str
    argv: tuple[str, ...]
    log: str
    environment: dict[str, str] = field(default_factory=dict)
    files: str = ""
    working_directory: str = ""
    kept: bool = True
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exit:
    """The end of a process.

    `code` is a shell's (128 + n for signal n), None if it was not a child.
    """

    name: str
    pid: int
    code: int | None


class ProcessSpawner(Protocol):
    """What the kubelet needs of a spawner; tests use a fake."""

    async def spawn(self, spec: ProcessSpec) -> int:
        """Start an entry; returns its pid once it is recorded."""

    async def spawn_container(self, spec: ContainerSpec) -> int:
        """Start a command; returns its pid once it is recorded."""

    def adopt(self, name: str, namespace: str) -> int | None:
        """Adopt an earlier daemon's process: its pid, None if not in the present `namespace`."""

    def subscribe(self, listener: Callable[[Exit], None]) -> None:
        """Call `listener` for every end of a process."""


class Spawner:
    """A running spawner process and the socket to it."""

    def __init__(self, channel: socket.socket, pid: int, state: StateDirectory) -> None:
        self.pid = pid
        self._channel = channel
        channel.setblocking(False)
        self._state = state
        self._listeners: list[Callable[[Exit], None]] = []
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._last_id = 0
        self._adopted: dict[int, str] = {}
        self.closed = asyncio.Event()

    @classmethod
    def start(cls, state: StateDirectory, entries: Mapping[str, zygote.Entry]) -> Spawner:
        """Fork the spawner. Call it before any thread or event loop exists, with everything imported."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        gc.collect()
        pid = os.fork()
        if pid == 0:
            ours.close()
            zygote.run(theirs, entries, state)
        theirs.close()
        return cls(ours, pid, state)

    def attach(self, on_exit: Callable[[Exit], None] | None = None) -> None:
        """Start to read the spawner's answers and notifications in the running event loop."""
        if on_exit:
            self.subscribe(on_exit)
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read(), name="spawner")

    def subscribe(self, listener: Callable[[Exit], None]) -> None:
        """Call `listener` for every end of a process."""
        self._listeners.append(listener)

    async def spawn(self, spec: ProcessSpec) -> int:
        """Start an entry; returns its pid once it is recorded."""
        return await self._ask("process", asdict(spec))

    async def spawn_container(self, spec: ContainerSpec) -> int:
        """Start a command; returns its pid once it is recorded."""
        return await self._ask("container", asdict(spec))

    def adopt(self, name: str, namespace: str) -> int | None:
        """Adopt an earlier daemon's process and report its end; return its pid, None if it ended.

        A process in a network namespace that was recreated since is useless, so it is ended.
        """
        record = records.read_record(self._state, name)
        if record is None:
            return None
        try:
            descriptor = os.pidfd_open(record.pid)
        except ProcessLookupError:
            descriptor = -1
        if descriptor < 0 or not records.is_alive(record):
            if descriptor >= 0:
                os.close(descriptor)
            records.strike_off(self._state, name)
            return None
        if namespace and records.network_namespace(record.pid) != records.inode(namespace):
            os.close(descriptor)
            records.stop([record], 0.0)
            records.strike_off(self._state, name)
            return None
        self._adopted[descriptor] = name
        asyncio.get_running_loop().add_reader(descriptor, self._adopted_ended, descriptor, record)
        return record.pid

    async def close(self) -> None:
        """Close the connection to the spawner: it exits, and its children keep running."""
        for descriptor in tuple(self._adopted):
            self._forget(descriptor)
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._channel.close()
        await asyncio.to_thread(os.waitpid, self.pid, 0)

    # ---- requests, answers, notifications
    async def _ask(self, kind: str, request: dict[str, Any]) -> int:
        self.attach()
        if self.closed.is_set():
            raise _gone(request["name"])
        self._last_id += 1
        number = self._last_id
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": number, "kind": kind, **request}).encode() + b"\n"
        await self._send(line)
        reply = await answer
        if error := reply.get("error"):
            raise LabError(f"Process {request['name']} could not be started: {error}.")
        return int(reply["pid"])

    async def _send(self, line: bytes) -> None:
        try:
            async with self._sending:
                await asyncio.get_running_loop().sock_sendall(self._channel, line)
        except ConnectionError:
            self._fail()

    async def _read(self) -> None:
        received = b""
        with Contained() as attempt:
            while chunk := await asyncio.get_running_loop().sock_recv(self._channel, CHUNK):
                *lines, received = (received + chunk).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
        if attempt.error is not None:
            trace = None if isinstance(attempt.error, ConnectionError) else attempt.error
            log.warning("spawner=lost error=%s", attempt.error, exc_info=trace)
        self._fail()

    def _fail(self) -> None:
        self.closed.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({"error": "the lab's spawner exited unexpectedly"})
        self._answers.clear()

    def _hear(self, message: dict[str, Any]) -> None:
        if "exit" in message:
            self._announce(Exit(message["exit"], message["pid"], exit_code(message["status"])))
        elif (answer := self._answers.pop(message["id"], None)) and not answer.done():
            answer.set_result(message)

    def _announce(self, news: Exit) -> None:
        for listener in self._listeners:
            with Contained() as attempt:  # the other listeners must receive this end, and later ones
                listener(news)
            if attempt.error is not None:
                log.error("process=%s news=broken", news.name, exc_info=attempt.error)

    # ---- processes of an earlier daemon
    def _adopted_ended(self, descriptor: int, record: ProcessRecord) -> None:
        self._forget(descriptor)
        records.strike_off(self._state, record.name)
        self._announce(Exit(record.name, record.pid, None))

    def _forget(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        del self._adopted[descriptor]


def _gone(name: str) -> LabError:
    return LabError(
        f"Process {name} could not be started: the lab's spawner exited unexpectedly.",
        remedy="Run `netlab up FILE`: it restarts the daemon, which adopts the running pods.",
    )
