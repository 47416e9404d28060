"""The socket on which built-in workloads in containers say that they listen."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from netlab.files import socket_address
from netlab.node.pod_runtime import RunKey
from netlab.node.workloads_protocol import ServerStatus
from netlab.runtime.statedir import StateDirectory

READY = "ready"  # the socket's name among the lab's
EVERYBODY_MAY_WRITE = 0o666  # containers run as nobody; only those see the socket that it is mounted into


class ReadySocket:
    """A datagram socket; `listens` hears which run of which container listens."""

    def __init__(self, state: StateDirectory, listens: Callable[[RunKey], None]) -> None:
        self.path = Path(state.socket(READY))
        self._listens = listens
        self._transport: asyncio.BaseTransport | None = None

    async def open(self) -> None:
        """Begin to listen; again, when an attempt before this one got so far."""
        self.close()
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        with socket_address(self.path) as address:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Hearing(self._listens), local_addr=address, family=socket.AF_UNIX
            )
        self.path.chmod(EVERYBODY_MAY_WRITE)

    def close(self) -> None:
        """Listen no more."""
        if self._transport:
            self._transport.close()


class _Hearing(asyncio.DatagramProtocol):
    """Reads statuses; what is none is nobody's word."""

    def __init__(self, listens: Callable[[RunKey], None]) -> None:
        self._listens = listens

    def datagram_received(self, data: bytes, _addr: object) -> None:
        try:
            status = msgspec.json.decode(data, type=ServerStatus)
        except (msgspec.DecodeError, RecursionError):
            return
        uid, _, name = status.key.partition("/")
        self._listens(RunKey(uid, name, status.run))
