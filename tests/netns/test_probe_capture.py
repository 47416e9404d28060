"""What the kernel says of a probe's packets, in namespaces of the test's own."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator

import pytest

from netlab.dataplane.state import Link, Operation, Verb
from netlab.errors import CannotTestError
from netlab.kernel import namespaces
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.namespaces import inside
from netlab.probe.run.capture import Capture
from netlab.probe.run.stamps import stamping
from netlab.probe.run.wire import MARK

pytestmark = pytest.mark.netns

NAME = f"cap{os.getpid()}"
PATH = f"/run/netns/{NAME}"
KEY = f"{1:016x}"
SIGHTINGS = 2  # leaving and entering `lo`
PATIENCE = 30  # seconds for what must come
OFTEN = 8  # the kernel is late nine times in ten


@pytest.fixture(autouse=True)
def _namespace() -> Iterator[None]:
    """A namespace with `lo`, and nothing else in it."""
    namespaces.create([PATH])
    yield
    namespaces.delete([PATH])


async def times_seen() -> tuple[list[int], int]:
    """Send a packet as soon as captures are open; return when it was seen at `lo`, and a moment before it was read.

    On a busy machine `lo` hands it on some time after it was sent, but not before it has stamped it.
    """
    capture = Capture(inside, 8472)
    try:
        await capture.open([("here", NAME)], quiet=[PATH])
        with inside(PATH):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender:
            sender.sendto(MARK + KEY.encode(), ("127.0.0.1", 9))
        before = time.time_ns()
        seen: list[int] = []
        async with asyncio.timeout(PATIENCE):
            while len(seen) < SIGHTINGS:
                seen += [sighting.time for sighting in capture.take(KEY) if not sighting.packet.answer]
                await asyncio.sleep(0)  # the capture reads when the event loop finds something to read
        return seen, before
    finally:
        capture.close()


async def test_a_packet_has_the_time_when_it_came() -> None:
    """However late it is read, and from the first packet on: else the order would be that of our reading."""
    for _ in range(OFTEN):
        seen, before = await times_seen()

        assert len(seen) == SIGHTINGS
        assert max(seen) <= before


async def test_where_nobody_can_talk_to_himself() -> None:
    """Without a loopback device that is up, nothing is said about the lab, in a sentence."""
    LinuxKernel().perform(PATH, [Operation(Verb.SET, Link("lo", up=False))])
    with pytest.raises(CannotTestError, match="order is unknown"):
        await stamping(inside, [PATH, f"{PATH}-none"])
