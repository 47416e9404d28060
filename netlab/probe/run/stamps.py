"""When a packet was seen: the kernel's time stamps, by which what several sockets saw is put in order.

What would surprise you: asking for stamps (SO_TIMESTAMPNS) does not have them at once. The kernel begins to stamp when one
of its workers comes to it (net_enable_timestamp), on a busy machine milliseconds later. A packet that arrived before has
the time at which it is *read*: then the order is that of our reading, a packet leaves a pod after its node has seen it, and
one that the node stopped seems to have ended in the pod. So nothing is sent before the kernel is seen to stamp: a stamp that
is not later than the sending is the kernel's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress

from netlab.errors import CannotTestError, KernelError
from netlab.probe.run.vantage import Enter

Ancillary = list[tuple[int, int, bytes]]

SO_TIMESTAMPNS = 35
STAMP_TIMEOUT = 2.0  # seconds for the kernel's worker, and for an answer of `lo`
POLL_SECONDS = 0.001  # between two looks


def ask_for_stamps(sock: socket.socket) -> None:
    """Have the time of each packet that a socket receives among its ancillary data."""
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)


def time_of(ancillary: Ancillary) -> int:
    """Return when a packet was seen, in nanoseconds; 0 without stamps."""
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", content)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return 0


async def stamping(enter: Enter, paths: Iterable[str]) -> None:
    """Return once the kernel stamps packets when they arrive; it does so while a socket asks for stamps.

    It sends datagrams to itself over `lo`, in the first of the namespaces at `paths` where that is possible.
    Raises CannotTestError where it is not, or when the kernel never begins.
    """
    for path in paths:
        with suppress(OSError, KernelError), _talk(enter, path) as talk:
            async with asyncio.timeout(STAMP_TIMEOUT):
                while not _stamped(talk):  # noqa: ASYNC110 -- the kernel does not report when it begins
                    await asyncio.sleep(POLL_SECONDS)
            return
    raise CannotTestError(
        "the kernel reports no arrival times of packets, so their order is unknown",
        remedy="The loopback device of the lab's fabric may be down: `netlab down` and `netlab up` recreate it.",
    )


def _talk(enter: Enter, path: str) -> socket.socket:
    """Return a socket that receives its own datagrams."""
    with enter(path):
        talk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        talk.settimeout(STAMP_TIMEOUT)
        talk.bind(("127.0.0.1", 0))
        talk.connect(talk.getsockname())
        ask_for_stamps(talk)
    except OSError:
        talk.close()
        raise
    return talk


def _stamped(talk: socket.socket) -> bool:
    """Return whether a packet that is sent now is stamped before it is read."""
    talk.send(b"?")
    sent = time.time_ns()
    _, ancillary, *_ = talk.recvmsg(1, 64)
    return time_of(ancillary) <= sent
