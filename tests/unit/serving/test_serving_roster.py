"""Who may connect, and which connection makes room (findings S3, M8)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netlab.serving.roster import Limits, Roster, Seat

LIMITS = Limits(total=6, per_peer=4, strangers_per_peer=2, stranger_seconds=10, idle_seconds=90)


class Server:
    """A roster whose connections have names: `a1` is the first of peer `a`."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.roster = Roster(limits)
        self.open: dict[str, Seat] = {}
        self.closed: list[str] = []
        self.now = 0.0

    def connect(self, name: str, state: str = "") -> bool:
        """Connect as the peer that the name begins with; `state` is letters: k for known, b for busy."""
        self.now += 1
        seat = self.roster.admit(name.rstrip("0123456789").replace("unix", ""), self.now)
        if seat is None:
            return False
        seat.close = self._closing(name)
        self.open[name] = seat
        if "k" in state:
            seat.prove()
        if "b" in state:
            seat.begin()
        return True

    def _closing(self, name: str) -> Callable[[], None]:
        def close() -> None:
            self.closed.append(name)
            self.open.pop(name).leave()

        return close


ROWS = [
    ("below every bound", ["a1", "a2", "b1"], [True] * 3, []),
    ("third stranger of a peer", ["a1", "a2", "a3"], [True] * 3, ["a1"]),
    ("strangers of others stay", ["b1", "a1", "a2", "a3", "a4"], [True] * 5, ["a1", "a2"]),
    ("known ones of the peer stay", ["a1k", "a2", "a3", "a4"], [True] * 4, ["a2"]),
    ("busy ones stay", ["a1b", "a2", "a3"], [True] * 3, ["a2"]),
    ("all busy", ["a1b", "a2b", "a3"], [True, True, False], []),
    ("all of a peer: idle known ones go", ["a1k", "a2kb", "a3k", "a4k", "a5"], [True] * 5, ["a1"]),
    ("all of a peer, all busy", ["a1kb", "a2kb", "a3kb", "a4kb", "a5"], [True] * 4 + [False], []),
    ("all of the server: a stranger goes", ["k1k", "a1", "b1", "c1", "d1", "e1", "f1"], [True] * 7, ["a1"]),
    ("all of the server, all busy", ["a1kb", "b1kb", "c1kb", "d1kb", "e1b", "f1b", "g1"], [True] * 6 + [False], []),
    ("a Unix socket has no bound", [f"unix{n}" for n in range(9)] + ["a1"], [True] * 10, []),
    ("and makes no room", ["unix1", "a1b", "a2b", "a3"], [True, True, True, False], []),
]


@pytest.mark.parametrize(("arrivals", "admitted", "closed"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_roster_makes_room_or_refuses(arrivals: list[str], admitted: list[bool], closed: list[str]) -> None:
    """The longest idle stranger of the group makes room; known, busy and foreign connections stay."""
    server = Server()
    results = [server.connect(text.rstrip("kb"), text[len(text.rstrip("kb")) :]) for text in arrivals]

    assert (admitted, closed) == (results, server.closed)
    assert set(server.roster.seats) == set(server.open.values())


@pytest.mark.parametrize(
    ("name", "state", "seconds", "closed"),
    [
        ("a1", "", 9.9, False),
        ("a1", "", 10, True),
        ("a1", "k", 10, False),
        ("a1", "k", 90, True),
        ("a1", "b", 1e6, False),
        ("a1", "kb", 1e6, False),
        ("unix1", "", 1e6, False),
    ],
)
def test_roster_closes_idle_connections_at_their_deadline(name: str, state: str, seconds: float, closed: bool) -> None:
    """A stranger's deadline covers handshake and headers, a known connection's is keep-alive, a busy one has none."""
    server = Server()
    server.connect(name, state)
    server.roster.expire(server.now + seconds)

    assert closed == (server.closed == [name])


def test_roster_counts_idle_time_from_the_last_request() -> None:
    """A request in between moves the deadline."""
    server = Server()
    server.connect("a1", "k")
    seat = server.open["a1"]
    seat.begin()
    seat.finish(server.now + 60)
    server.roster.expire(server.now + 100)
    before = list(server.closed)
    server.roster.expire(server.now + 150)

    assert ([], ["a1"]) == (before, server.closed)


def test_roster_relieves_a_process_without_descriptors() -> None:
    """Idle connections go, strangers first; busy ones and those of a Unix socket stay."""
    server = Server()
    for name, state in (("a1", "k"), ("b1", ""), ("c1", "b"), ("unix1", "")):
        server.connect(name, state)
    relieved = [server.roster.relieve() for _ in range(3)]

    assert ([True, True, False], ["b1", "a1"]) == (relieved, server.closed)


def test_roster_forgets_peers_that_have_gone() -> None:
    """Nothing is kept of a peer without connections: a scan of addresses costs no memory."""
    server = Server(Limits(10, 10, 10, 10, 10))
    for number in range(100):
        server.connect(f"peer{chr(97 + number % 26)}1")
        for seat in tuple(server.roster.seats):
            seat.leave()
            seat.leave()

    assert ({}, {}) == (server.roster.seats, dict(server.roster._per_peer))
