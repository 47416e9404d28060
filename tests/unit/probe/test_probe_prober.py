"""Telling a request from its echo in a trail of sightings."""

from __future__ import annotations

from netlab.probe.prober import turn
from netlab.probe.wire import Packet, Sighting


def seen(source_port, destination_port):
    packet = Packet("k", "UDP", "a", "b", source_port, destination_port, "datagram", answer=False)
    return Sighting("node1", "eth0", "in", 1, 1, packet, b"")


def test_echo_is_an_answer():
    """From the server's port on, all that follows is the answer, whatever ports the translations give it."""
    trail = (seen(40000, 7), seen(40000, 31234), seen(50000, 7000), seen(7000, 50000), seen(31234, 40000), seen(7, 40000))

    assert [False, False, False, True, True, True] == [s.packet.answer for s in turn(trail, {7, 7000})]
