"""The keys of probes, and exchanges from a vantage point (on the loopback of the test's own namespace)."""

from __future__ import annotations

import asyncio
import socket
from contextlib import nullcontext
from itertools import pairwise

import pytest

from netlab.errors import KernelError
from netlab.probe.plan.outcome import Outcome
from netlab.probe.run import sockets
from netlab.probe.run.vantage import ROOM, BrokenProbeError, Keys, Vantage
from netlab.probe.run.wire import KEY_LENGTH

MANY = 1000
ANY = 0  # the kernel chooses the port


def vantage(enter=lambda _path: nullcontext(), ports=(), timeout=5.0):
    return Vantage("lab-node1", enter, Keys(7), iter(ports), timeout)


def test_sequence_numbers_only_grow():
    """A connection begins behind all before it, those of an earlier run too, as a server in TIME-WAIT requires."""
    first = [Keys(1).sequence() for _ in range(3)]
    second = Keys(2)
    numbers = [*first, *(second.sequence() for _ in range(MANY))]
    steps = [(after - before) & 0xFFFFFFFF for before, after in pairwise(numbers)]

    assert all(ROOM <= step < 1 << 31 for step in steps[len(first) :])
    assert all(0 < step < 1 << 31 for step in steps)


def test_marks_and_identifiers_differ():
    """Marks fill their place in a payload; of identifiers, DNS and ICMP carry 16 bits, and these differ as well."""
    keys = Keys(7)
    marks = [keys.mark() for _ in range(MANY)]
    identifiers = [keys.identifier() & 0xFFFF for _ in range(MANY)]

    assert {KEY_LENGTH} == {len(mark) for mark in marks}
    assert MANY == len(set(marks)) == len(set(identifiers))
    assert Keys(8).mark() not in marks


def test_socket_is_made_inside_the_namespace():
    """The vantage point enters the path of its namespace, by which the kernel knows it."""
    entered = []

    def enter(path):
        entered.append(path)
        return nullcontext()

    vantage(enter).open_socket(socket.SOCK_DGRAM).close()

    assert ["/run/netns/lab-node1"] == entered


@pytest.mark.parametrize("error", [FileNotFoundError("no such file"), KernelError("no such namespace")])
def test_missing_namespace_breaks_the_probe(error):
    """A probe that could not be sent says nothing about the network."""

    def enter(_path):
        raise error

    with pytest.raises(BrokenProbeError, match=f"lab-node1: {error}"):
        vantage(enter).open_socket(socket.SOCK_STREAM)


async def test_datagram_leaves_from_a_free_port():
    """The next port that no other socket has; the answer ends the exchange."""
    with socket.socket(type=socket.SOCK_DGRAM) as other, socket.socket(type=socket.SOCK_DGRAM) as server:
        other.bind(("", 0))
        server.bind(("127.0.0.1", 0))
        held, clients = other.getsockname()[1], []

        def answer():
            message, client = server.recvfrom(64)
            clients.append(client[1])
            server.sendto(message.upper(), client)

        asyncio.get_running_loop().add_reader(server, answer)
        exchange = await sockets.udp(vantage(ports=[held, ANY]), server.getsockname(), b"hello")
        asyncio.get_running_loop().remove_reader(server)

    assert (Outcome.ALLOWED, b"HELLO") == (exchange.outcome, exchange.answer)
    assert held not in clients


async def test_unanswered_datagram_is_dropped():
    """The detail says how long the probe waited, which is the timeout of its vantage point."""
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        exchange = await sockets.udp(vantage(ports=[ANY], timeout=0.1), silent.getsockname(), b"hello")

    assert Outcome.DROPPED is exchange.outcome
    assert "no answer to the datagram within 0.1 s" == exchange.detail
