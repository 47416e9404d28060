"""Traffic of a lab under test, counted: short connections, kept connections and datagrams, by real sockets inside its namespaces.

Every flow has a thread. A try that does not end as it must is counted as lost, with what befell it and when.

    short   a new TCP connection per request; an HTTP answer that names the pod must come back whole
    kept    one TCP connection for all requests: it must not break. Use it towards pods that stay
    udp     a new flow per question, from ports in turn: a question must be answered, and is asked once. (From a random port
            every tenth question would belong to a flow that conntrack still knows, and would go where that one went.)
"""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from netlab.kernel.namespaces import inside

PORTS = (10000, 60000)  # of the sockets that ask by UDP
PATIENCE = 10.0  # seconds for an answer: a server may wait for its turn on a busy machine, the kernel does not
REQUEST = b"GET /hostname HTTP/1.1\r\nHost: lab\r\n%s\r\n"
ONCE, AGAIN = REQUEST % b"Connection: close\r\n", REQUEST % b""


@dataclass(frozen=True)
class Flow:
    """Who asks whom: the path of the asker's namespace, an address and port, and the kind (see above)."""

    name: str
    path: str
    target: tuple[str, int]
    kind: str = "short"


@dataclass
class Tally:
    """What became of a flow's tries."""

    tried: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    times: deque[float] = field(default_factory=lambda: deque(maxlen=1000))  # when the lost ones began, as time.time()
    servers: Counter[str] = field(default_factory=Counter)


class Traffic:
    """Runs the flows while the `with` block does."""

    def __init__(self, flows: list[Flow], *, pause: float = 0.004) -> None:
        self.tallies = {flow.name: Tally() for flow in flows}
        self._pause = pause
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(flow,), name=flow.name) for flow in flows]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, flow: Flow) -> None:
        tally = self.tallies[flow.name]
        kept: list[socket.socket] = []  # the socket that a flow goes on with
        ask = KINDS[flow.kind](flow, kept)
        while not self._over.wait(self._pause * random.uniform(0.5, 1.5)):
            tally.tried += 1
            begun = time.time()
            try:
                tally.servers[ask()] += 1
            except (OSError, ValueError) as error:
                tally.lost[str(error) or type(error).__name__] += 1
                tally.times.append(begun)
        for one in kept:
            one.close()

    def lost(self) -> dict[str, dict[str, int]]:
        """Return the losses of the flows that have any."""
        return {name: dict(tally.lost) for name, tally in self.tallies.items() if tally.lost}

    def table(self) -> str:
        """Return one line per flow: tried, lost, and what befell those."""
        rows = (
            f"{name:28} tried {tally.tried:7}  lost {tally.lost.total():4}  {dict(tally.lost) or ''}".rstrip()
            for name, tally in self.tallies.items()
        )
        return "\n".join(rows)


def _socket(flow: Flow, kind: socket.SocketKind) -> socket.socket:
    with inside(flow.path):
        made = socket.socket(socket.AF_INET, kind)
    made.settimeout(PATIENCE)
    return made


def request(path: str, target: tuple[str, int], what: str, method: str = "GET") -> str:
    """Send one HTTP request from a namespace, outside any flow, and return the answer."""
    with _socket(Flow("", path, target), socket.SOCK_STREAM) as connection:
        connection.connect(target)
        connection.sendall(f"{method} {what} HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def _short(flow: Flow, _kept: list[socket.socket]) -> Callable[[], str]:
    def ask() -> str:
        with _socket(flow, socket.SOCK_STREAM) as connection:
            connection.connect(flow.target)
            connection.sendall(ONCE)
            return _server(b"".join(iter(lambda: connection.recv(65536), b"")))

    return ask


def _kept(flow: Flow, kept: list[socket.socket]) -> Callable[[], str]:
    def ask() -> str:
        try:
            if not kept:
                kept.append(_socket(flow, socket.SOCK_STREAM))
                kept[0].connect(flow.target)
            kept[0].sendall(AGAIN)
            return _server(kept[0].recv(65536))
        except (OSError, ValueError):
            kept.pop().close()
            raise

    return ask


def _datagram(flow: Flow, _kept: list[socket.socket]) -> Callable[[], str]:
    ports = itertools.cycle(range(*PORTS))

    def ask() -> str:
        with _socket(flow, socket.SOCK_DGRAM) as endpoint:
            endpoint.bind(("0.0.0.0", next(ports)))
            endpoint.connect(flow.target)
            endpoint.send(b"hostname")
            return endpoint.recv(2000).decode().splitlines()[0]

    return ask


def _server(answer: bytes) -> str:
    """Return the pod that gave an HTTP answer; ValueError for what is none."""
    head, _, body = answer.decode().partition("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    if "X-Netlab-Pod" not in headers or not body:
        raise ValueError(f"an answer of {len(answer)} bytes")
    return headers["X-Netlab-Pod"]


KINDS = {"short": _short, "kept": _kept, "udp": _datagram}
