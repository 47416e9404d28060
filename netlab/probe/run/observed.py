"""What a check came to, as the runner saw it: the other half of `Expectation`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from netlab.probe.plan.outcome import Outcome
from netlab.probe.run.wire import Sighting


def arrived(trail: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Return where a request has been: a frame for another MAC, which a bridge flooded to a host, has not arrived there."""
    return tuple(s for s in trail if not (s.packet.answer or s.flooded))


@dataclass(frozen=True)
class Hit:
    """One exchange that reached a server: the backend's `address:port`, the source it saw, empty where not observed.

    `node` is the first node that had the packet. `pod` and `client` are what the workload's own answer contains, empty when it
    contains nothing; `named` is the pod that has the backend's address by the API's account.
    """

    backend: str = ""
    source: str = ""
    named: str = ""
    node: str = ""
    pod: str = ""
    client: str = ""


@dataclass(frozen=True)
class Observed:
    """The result of a check's attempts. `trail` is the way of one packet, in order, answers included.

    `connected`: TCP's handshake was completed, so what got lost later is not the packet of the trail.
    """

    outcome: Outcome
    detail: str = ""
    attempts: int = 1
    milliseconds: float = 0.0
    hits: tuple[Hit, ...] = ()
    records: frozenset[str] = frozenset()
    response_code: str = ""
    authority: bool = False
    trail: tuple[Sighting, ...] = field(default=(), repr=False)
    connected: bool = False
    blind: str = ""  # why captures may be incomplete, empty when they are not

    @property
    def requests(self) -> tuple[Sighting, ...]:
        """The trail of the packet itself, without what came back; at each place the first of its kind counts."""
        first: dict[tuple[str, ...], Sighting] = {}
        for sighting in arrived(self.trail):
            packet = sighting.packet
            first.setdefault((sighting.where, sighting.direction, packet.source, packet.destination), sighting)
        return tuple(first.values())

    @property
    def kept_source(self) -> bool:
        """Return whether the packet had one source address all the way."""
        return len({s.packet.source for s in self.requests}) <= 1

    @property
    def lost_data(self) -> bool:
        """Return whether a connection was made and then lost: captures hold the first packets of a connection only."""
        return self.connected and self.outcome is not Outcome.ALLOWED

    @property
    def last_place(self) -> str:
        """Where the packet was seen last: place, device and direction, the same for all packets lost at one point."""
        if self.lost_data or not self.requests:
            return ""
        return f"{self.requests[-1].where} {self.requests[-1].direction}"

    @property
    def last_seen(self) -> str:
        """Where the packet was seen last, as text."""
        if self.lost_data or not self.requests:
            return ""
        last = self.requests[-1]
        p = last.packet
        ends = f"{p.source} > {p.destination}" + (f":{p.destination_port}" if p.destination_port else "")
        return f"{last.where} ({'leaving' if last.direction == 'out' else 'entering'}, {ends})"
