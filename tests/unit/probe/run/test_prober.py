"""How a request differs from its echo and its repetition."""

from __future__ import annotations

import pytest

from netlab.probe.plan.outcome import Outcome
from netlab.probe.run.observed import Observed
from netlab.probe.run.prober import first_sent, turn
from netlab.probe.run.wire import Packet, Sighting

CLIENT, FRONT, NODE, BACKEND = "client:40000", "front:7", "node:31234", "pod:7000"
REQUEST = ((CLIENT, FRONT), (CLIENT, NODE), ("node:50000", BACKEND))
ANSWER = ((BACKEND, "node:50000"), (NODE, CLIENT), (FRONT, CLIENT))
TRAILS = [
    pytest.param(REQUEST, ANSWER, id="whatever ports the translations give it"),
    pytest.param(((CLIENT, FRONT), ("node:7000", BACKEND)), ((BACKEND, "node:7000"), (FRONT, CLIENT)), id="the backend's port"),
    pytest.param(((CLIENT, FRONT), ("node:7", BACKEND)), ((BACKEND, "node:7"), (FRONT, CLIENT)), id="the Service's port"),
    pytest.param(((CLIENT, NODE), (NODE, BACKEND)), ((BACKEND, NODE), (NODE, CLIENT)), id="the node port it came to"),
    pytest.param(((CLIENT, FRONT), (CLIENT, BACKEND)), ((BACKEND, CLIENT),), id="not translated back"),
    pytest.param(((CLIENT, FRONT),), ((FRONT, CLIENT),), id="seen at one place"),
    pytest.param(REQUEST, (), id="none"),
]


def seen(source, destination, place="node1", direction="in"):
    (source, source_port), (destination, destination_port) = source.split(":"), destination.split(":")
    packet = Packet("k", "UDP", source, destination, int(source_port), int(destination_port), "datagram", answer=False)
    return Sighting(place, "eth0", direction, 1, 1, packet, b"")


SENT = [
    seen("10.244.1.2:40000", "10.96.0.5:80", "default/a1", "out"),
    seen("10.244.1.2:40000", "10.96.0.5:80"),
    seen("10.244.1.2:40000", "10.244.1.2:8080"),
]
AGAIN = [*SENT[:2], seen("10.244.1.2:40000", "10.244.2.2:8080"), seen("10.244.1.2:40000", "10.244.2.2:8080", "default/b1")]


@pytest.mark.parametrize("trail", [[], SENT[:1], SENT, [*SENT, *AGAIN], [*SENT, *AGAIN, *AGAIN]], ids=len)
def test_the_first_of_what_was_sent_is_followed(trail):
    """A repetition that met another backend says nothing about where the first packet got lost."""
    assert tuple(trail[:3]) == first_sent(tuple(trail))


@pytest.mark.parametrize(("request_", "answer"), TRAILS)
def test_echo_is_an_answer(request_, answer):
    """What goes back, and all that follows, is the answer; masquerading may give a request a server's port."""
    trail = tuple(seen(*ends) for ends in (*request_, *answer))

    assert [False] * len(request_) + [True] * len(answer) == [s.packet.answer for s in turn(trail)]


def test_a_repetition_under_way_is_not_where_it_ended():
    """TCP repeats a SYN after a second, just when a probe gives up: the first one says how far the packet came."""
    packet = Packet("k", "TCP", "a", "b", 40000, 80, "SYN", answer=False)
    places = [("node1", "out", 1), ("node2", "in", 2), ("node1", "out", 1001)]
    trail = tuple(Sighting(where, "eth0", direction, time, time, packet, b"") for where, direction, time in places)

    assert "node2 eth0 in" == Observed(Outcome.DROPPED, trail=trail).last_place
