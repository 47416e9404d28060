"""`netlab port-forward`: ports of this machine's loopback that lead into a pod.

netlab accepts a connection on loopback in the namespace that it was started in. For each one it
creates a socket inside the pod's network namespace and connects it to 127.0.0.1 there, as a
kubelet's runtime does. So the server sees a connection from itself, which no Service, proxy rule or
overlay affects.

- When one side shuts down its sending direction, the other side receives the end of the stream and
  can continue to send (half-closed connections work).
- A refused or broken connection on one side is reset on the other side, and reported to the user.
- If the pod is removed, the forwarding ends: the next one must choose another pod.
- ^C and SIGTERM are the ordinary end of a forwarding, not a fault.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from netlab.api.pods import Pod
from netlab.api.resources import ENDPOINT_SLICES, PODS, SERVICES
from netlab.errors import KernelError, LabError, UsageError
from netlab.kernel import namespaces
from netlab.lab.find import connect
from netlab.lab.forward_target import LOCALHOST, Cluster, Plan, PortRequest, Target, plan
from netlab.lab.pods import network_path
from netlab.lab.privilege import obtain
from netlab.serving.descriptors import raise_limit, room
from netlab.serving.halfclose import end_sending
from netlab.serving.listener import Listener
from netlab.serving.roster import Limits, Roster, Seat
from netlab.serving.streams import Accepted, streams
from netlab.state import StateDirectory

CHUNK = 64 * 1024
MOST_CONNECTIONS = 4096
BACKLOG = 4096  # somaxconn's default today
NO_NAMESPACE = frozenset({errno.ENOENT, errno.EINVAL})  # no such name; a name with nothing mounted on it
RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, no time: closing sends a reset

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Forwarding:
    """One listening port and where it leads."""

    address: str
    local: int
    remote: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"Forwarding from {address}:{self.local} -> {self.remote}"


def find(state: StateDirectory, target: Target, requests: Sequence[PortRequest]) -> Plan:
    """Choose the pod and the ports from the objects of the lab's API server."""
    with connect(state) as client:
        pods = tuple(PODS.readable(client.list(PODS).items))
        named = () if target.resource is PODS else tuple(target.resource.readable(client.list(target.resource).items))
        if target.resource is not SERVICES:
            return plan(target, requests, Cluster(pods, workloads=named))
        slices = tuple(ENDPOINT_SLICES.readable(client.list(ENDPOINT_SLICES).items))
    return plan(target, requests, Cluster(pods, services=named, slices=slices))


@contextmanager
def listening(chosen: Plan, addresses: Sequence[str]) -> Iterator[dict[Forwarding, socket.socket]]:
    """Listen on every address and port of a plan for a `with` block.

    Raises UsageError if one is in use.
    """
    with ExitStack() as stack:
        opened = {}
        for pair in chosen.ports:
            for address in addresses:
                listener = stack.enter_context(_listen(address, pair.local))
                opened[Forwarding(address, listener.getsockname()[1], pair.remote)] = listener
        yield opened


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        remedy = "Choose another local port (before the colon); 0:80 takes any free port." if taken else ""
        raise UsageError(f"cannot listen on {address} port {port}: {os.strerror(error.errno or 0)}", remedy=remedy) from error
    return listener


def serve(
    state: StateDirectory, pod: Pod, listeners: dict[Forwarding, socket.socket], ready: Callable[[], None], trouble: Tell
) -> None:
    """Carry connections until a signal ends the process. Raises LabError if the pod is removed.

    `ready` is called once the signals have a handler: a reader of its output may send ^C at once.
    """
    obtain(state, "port-forward")  # the listeners belong to the machine: they were created before
    raise_limit()

    async def until_asked() -> None:
        forwarder = Forwarder(pod.key, network_path(state.lab, pod), trouble)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, forwarder.stop)
        ready()
        await forwarder.run(listeners)

    asyncio.run(until_asked())


class Forwarder:
    """Accepts connections and carries them into one pod. Needs a running event loop."""

    def __init__(self, pod: str, path: str, trouble: Tell) -> None:
        self._pod = pod
        self._path = path
        self._trouble = trouble
        self._connections: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """End `run`."""
        if not self._ended.done():
            self._ended.set_result(None)

    async def run(self, listeners: dict[Forwarding, socket.socket]) -> None:
        """Carry connections until `stop`; those still open are then reset.

        Raises LabError if the pod is removed.
        """
        most = max(1, room(2 * MOST_CONNECTIONS) // 2)  # two descriptors for each connection
        roster = Roster(Limits(most, most, most, math.inf, math.inf))
        servers = [
            Listener(str(forwarding), bound, streams(self._accepted(forwarding)), roster, backlog=BACKLOG, report=self._trouble)
            for forwarding, bound in listeners.items()
        ]
        try:
            await self._ended
        finally:
            for server in servers:
                server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accepted(self, forwarding: Forwarding) -> Accepted:
        def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat) -> None:
            seat.begin()  # for good: a carried connection is never closed for another
            task = asyncio.get_running_loop().create_task(self._carry(forwarding, (reader, writer)))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        return start

    async def _carry(self, forwarding: Forwarding, client: Streams) -> None:
        ends = [client]
        try:
            ends.append(await self._dial(forwarding.remote))
            await _both_ways(*ends)
        except* (OSError, KernelError) as errors:
            self._failed(forwarding, _first(errors))
        finally:
            for _, writer in ends:
                _reset(writer)
            for _, writer in ends:
                with suppress(OSError):
                    await writer.wait_closed()

    async def _dial(self, port: int) -> Streams:
        with namespaces.inside(self._path):
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            await asyncio.get_running_loop().sock_connect(connection, (LOCALHOST, port))
            return await asyncio.open_connection(sock=connection)
        except BaseException:
            connection.close()
            raise

    def _failed(self, forwarding: Forwarding, error: BaseException) -> None:
        """Report a failed connection.

        End the forwarding if the namespace, and so the pod, is removed.
        """
        number = getattr(error, "errno", None) or 0
        if not (isinstance(error, KernelError) and number in NO_NAMESPACE):
            words = os.strerror(number).lower() if number else str(error)
            self._trouble(f"connection to port {forwarding.local} -> {forwarding.remote} of pod {self._pod}: {words}")
        elif not self._ended.done():
            gone = LabError(f"pod {self._pod} no longer exists", remedy="Run the command again to forward to another pod.")
            gone.__cause__ = error
            self._ended.set_exception(gone)


async def _both_ways(one: Streams, other: Streams) -> None:
    """Carry bytes both ways until both sides have ended their stream and received everything."""
    for _, writer in (one, other):
        writer.transport.set_write_buffer_limits(0)  # `drain` returns when everything is sent
    async with asyncio.TaskGroup() as directions:
        directions.create_task(_carry_one_way(one[0], other[1]))
        directions.create_task(_carry_one_way(other[0], one[1]))
    for _, writer in (one, other):
        writer.close()
        await writer.wait_closed()


async def _carry_one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK):
        writer.write(chunk)
        await writer.drain()
    end_sending(writer.transport)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Reset a connection that is still open; an orderly closed one stays as it is."""
    connection = writer.get_extra_info("socket")
    if connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first reason, however deep it is nested."""
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
