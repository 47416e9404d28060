"""How probes are told apart: a request from its echo, and one connection from the next."""

from __future__ import annotations

from itertools import pairwise

from netlab.probe.observed import Observed
from netlab.probe.outcome import Outcome
from netlab.probe.prober import ROOM, Sequences, turn
from netlab.probe.wire import Packet, Sighting


def seen(source_port, destination_port):
    packet = Packet("k", "UDP", "a", "b", source_port, destination_port, "datagram", answer=False)
    return Sighting("node1", "eth0", "in", 1, 1, packet, b"")


def test_echo_is_an_answer():
    """From the server's port on, all that follows is the answer, whatever ports the translations give it."""
    trail = (seen(40000, 7), seen(40000, 31234), seen(50000, 7000), seen(7000, 50000), seen(31234, 40000), seen(7, 40000))

    assert [False, False, False, True, True, True] == [s.packet.answer for s in turn(trail, {7, 7000})]


def test_sequence_numbers_only_grow():
    """A connection begins behind all before it, those of an earlier run too: a server in TIME-WAIT would not take it else."""
    first = [Sequences().next() for _ in range(3)]
    second = Sequences()
    numbers = [*first, *(second.next() for _ in range(1000))]
    steps = [(after - before) & 0xFFFFFFFF for before, after in pairwise(numbers)]

    assert all(ROOM <= step < 1 << 31 for step in steps[len(first) :])
    assert all(0 < step < 1 << 31 for step in steps)


def test_a_repetition_under_way_is_not_where_it_ended():
    """TCP repeats a SYN after a second, just when a probe gives up: the first one says how far the packet came."""
    packet = Packet("k", "TCP", "a", "b", 40000, 80, "SYN", answer=False)
    places = [("node1", "out", 1), ("node2", "in", 2), ("node1", "out", 1001)]
    trail = tuple(Sighting(where, "eth0", direction, time, time, packet, b"") for where, direction, time in places)

    assert "node2 eth0 in" == Observed(Outcome.DROPPED, trail=trail).last_place
