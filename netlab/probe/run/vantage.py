"""The vantage point of a probe: where it is sent from, and what distinguishes its packets from all others.

An exchange (`sockets`, `resolve`) takes a `Vantage` and a target. The vantage holds the network namespace and the way
into it, the timeout, and two things that all probes of a run share: `ports` (of datagrams, see `ports`) and `Keys`.

A key must differ from those of the probes before it, earlier runs included, for two reasons. Captures file packets by
key. And what earlier packets left behind must not decide what happens to this one: conntrack treats a packet like the
flow it belongs to, and a server in TIME-WAIT accepts a new connection from the same port only if it begins behind the
end of the old one (RFC 9293). So sequence numbers only grow, at the pace of a clock (RFC 6528).

A socket belongs to the namespace in which it was made. Entering it takes microseconds, and no thread stays there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from time import monotonic_ns

from netlab.dataplane import names
from netlab.errors import KernelError

Enter = Callable[[str], AbstractContextManager[None]]  # a namespace's path -> inside it, in this thread

ROOM = 1024  # sequence numbers between two connections, more than one connection's data takes up
NANOSECONDS_PER_SEQUENCE = 64  # as fast as the kernel's own clock for sequence numbers
IDENTIFIER_STEP = 0x9E3779B1  # odd: all 2**32 identifiers come once before one returns


class BrokenProbeError(Exception):
    """The probe could not be carried out: nothing is known about the network."""


@dataclass
class Keys:
    """The numbers by which captures recognize probes. `seed` makes those of two runs differ."""

    seed: int
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _ticks: int = 0

    def mark(self) -> str:
        """Return the next 16 hex digits for a payload."""
        return f"{self.seed & 0xFFFFFFFF:08x}{next(self._numbers) & 0xFFFFFFFF:08x}"

    def identifier(self) -> int:
        """Return the next identifier of a DNS or ICMP message, whose lowest 16 bits also differ."""
        return ((self.seed + next(self._numbers)) * IDENTIFIER_STEP) & 0xFFFFFFFF or 1

    def sequence(self) -> int:
        """Return the next initial sequence number of TCP, 1 to 2**32 - 1, later than all before."""
        self._ticks = max(self._ticks + ROOM, monotonic_ns() // NANOSECONDS_PER_SEQUENCE)
        return self._ticks & 0xFFFFFFFF or 1


@dataclass(frozen=True)
class Vantage:
    """A network namespace, by name, from which probes are sent. `timeout`: seconds to wait for an answer."""

    namespace: str
    enter: Enter
    keys: Keys
    ports: Iterator[int]
    timeout: float

    def open_socket(self, kind: int, protocol: int = 0) -> socket.socket:
        """Return a non-blocking IPv4 socket of this namespace."""
        return open_socket(self.enter, self.namespace, kind, protocol)


def open_socket(enter: Enter, namespace: str, kind: int, protocol: int = 0) -> socket.socket:
    """Return a non-blocking IPv4 socket of a namespace (by name)."""
    try:
        with enter(names.namespace_path(namespace)):
            sock = socket.socket(socket.AF_INET, kind, protocol)
    except (OSError, KernelError) as error:
        message = f"cannot create a socket in network namespace {namespace}: {error}"
        raise BrokenProbeError(message) from error
    sock.setblocking(False)
    return sock
