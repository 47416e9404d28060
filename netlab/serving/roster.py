"""The connections of a server: the limits per peer, and which one is closed for a new one (pure).

A connection has a `Seat` from accept(2) on, also during its TLS handshake. A seat is

    busy        a request is being served (a watch is a request that takes long)
    idle        no request since the time `since`. Only idle connections are closed for others
    known       a request on it had a valid token. The others are anonymous. A server without tokens
                has anonymous connections only

Rules:
1. Three limits apply to each new connection: anonymous ones of its peer, all of its peer, all of
   the server. If a limit is reached, the connection of that group that has been idle longest is
   closed, anonymous before known ones. If all are busy, the new connection is refused.
2. So a peer without a token affects its own anonymous connections only: idle connections of other
   peers, and all known ones, stay. Its newest connection is always accepted, so a pod behind the
   same address as an attacker is still served.
3. A seat has a deadline. It is short for an idle anonymous connection (it covers the TLS handshake
   and slow headers) and the keep-alive time for an idle known one; a busy seat has none.
4. Peers whose address is "" (a Unix socket, which only root can open) count in no group and are
   never closed for others.

Time comes in as `now`, in seconds of a clock that does not go back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

TRUSTED: Final = ""


@dataclass(frozen=True)
class Limits:
    """How many connections a server holds, and how long an idle one may stay."""

    total: int
    per_peer: int
    strangers_per_peer: int
    stranger_seconds: float
    idle_seconds: float


def _close_nothing() -> None:
    """Do nothing: the connection has no transport to close yet."""


@dataclass(eq=False)
class Seat:
    """One connection. `close` ends it at once; the owner of the transport sets it."""

    roster: Roster
    peer: str
    since: float
    close: Callable[[], None] = _close_nothing
    known: bool = False
    busy: int = 0

    @property
    def deadline(self) -> float | None:
        """Return when an inactive connection must be closed."""
        if self.busy or self.peer == TRUSTED:
            return None
        limits = self.roster.limits
        return self.since + (limits.idle_seconds if self.known else limits.stranger_seconds)

    def prove(self) -> None:
        """Record that a request on this connection had a valid token."""
        self.known = True

    def touch(self, now: float) -> None:
        """Record activity of the client, for a server whose requests take no time."""
        self.since = now

    def begin(self) -> None:
        """Record the start of a request."""
        self.busy += 1

    def finish(self, now: float) -> None:
        """Record the end of a request."""
        self.busy -= 1
        self.since = now

    def leave(self) -> None:
        """Record the end of the connection. May be called more than once."""
        self.roster.remove(self)


@dataclass(eq=False)
class Roster:
    """All connections of a server. `refused` and `evicted` count since the start."""

    limits: Limits
    seats: dict[Seat, None] = field(default_factory=dict)
    refused: int = 0
    evicted: int = 0
    _per_peer: Counter[str] = field(default_factory=Counter)

    def admit(self, peer: str, now: float) -> Seat | None:
        """Return the seat of a new connection, None to refuse it.

        May close an idle connection for it.
        """
        if peer != TRUSTED:
            for members, limit in self._bounds(peer):
                if len(members) >= limit and not self._evict(members):
                    self.refused += 1
                    return None
        seat = Seat(self, peer, now)
        self.seats[seat] = None
        self._per_peer[peer] += 1
        return seat

    def remove(self, seat: Seat) -> None:
        """Forget a connection that has ended."""
        if seat not in self.seats:
            return
        del self.seats[seat]
        self._per_peer[seat.peer] -= 1
        if not self._per_peer[seat.peer]:
            del self._per_peer[seat.peer]

    def relieve(self) -> bool:
        """Close the connection that has been idle longest; return False when there is none."""
        return self._evict([seat for seat in self.seats if seat.peer != TRUSTED])

    def expire(self, now: float) -> None:
        """Close every connection whose deadline has passed."""
        for seat in [seat for seat in self.seats if (deadline := seat.deadline) is not None and deadline <= now]:
            self._end(seat)

    def _bounds(self, peer: str) -> Iterable[tuple[list[Seat], int]]:
        """Yield each group that a new connection joins, and its limit; each after the previous."""
        if self._per_peer[peer] >= min(self.limits.strangers_per_peer, self.limits.per_peer):
            own = [seat for seat in self.seats if seat.peer == peer]
            yield [seat for seat in own if not seat.known], self.limits.strangers_per_peer
            yield [seat for seat in own if seat in self.seats], self.limits.per_peer
        if len(self.seats) - self._per_peer[TRUSTED] >= self.limits.total:
            yield [seat for seat in self.seats if seat.peer != TRUSTED], self.limits.total

    def _evict(self, members: Iterable[Seat]) -> bool:
        victim = min((seat for seat in members if not seat.busy), key=lambda seat: (seat.known, seat.since), default=None)
        if victim is None:
            return False
        self.evicted += 1
        self._end(victim)
        return True

    def _end(self, seat: Seat) -> None:
        seat.leave()
        seat.close()
