"""Carrying out one check: its action, as often as its expectation needs, and what was seen of it in the captures.

"Until all backends have answered" is bounded by `Expectation.attempts`, from the probability of a false alarm. Attempts look
for more backends; none repeats a failure: the first attempt that does not succeed is the check's outcome.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from time import monotonic_ns

from netlab.dns.resolver import LOOPBACK, parse, search_list
from netlab.probe import resolve, sockets
from netlab.probe.capture import Capture
from netlab.probe.checks import Ask, Check, LookUp, Place, Reach, Talk, Visit
from netlab.probe.observed import Hit, Observed, arrived
from netlab.probe.outcome import Outcome
from netlab.probe.servers import Servers, source_in
from netlab.probe.sockets import BrokenProbeError, Exchange
from netlab.probe.stamps import Enter
from netlab.probe.wire import MARK, Packet, Sighting, tcp_key

LONGEST_BATCH = 20
ROOM = 1024  # sequence numbers between two connections: what one says takes up fewer, so no packet of it looks like the next
NANOSECONDS_PER_SEQUENCE = 64  # as fast as the kernel's own clock for sequence numbers
IDENTIFIER_STEP = 0x9E3779B1  # odd: all 2**32 identifiers come once before one returns
POD_SAID = re.compile(rb"(?im)^X-Netlab-Pod:\s*(\S+)")
CLIENT_SAID = re.compile(rb"(?im)^X-Netlab-Client:\s*([\d.]+)")
END_OF_HEADERS = b"\r\n\r\n"


@dataclass
class Sequences:
    """TCP sequence numbers that no probe of this run or an earlier one has, each later than all before (RFC 6528's clock).

    Later matters: a server that still remembers a connection from the same port takes a new one only when it begins
    behind the old one's end (RFC 9293, TIME-WAIT), and says nothing useful otherwise.
    """

    _ticks: int = 0

    def next(self) -> int:
        """Return the next number, 1 to 2**32 - 1."""
        self._ticks = max(self._ticks + ROOM, monotonic_ns() // NANOSECONDS_PER_SEQUENCE)
        return self._ticks & 0xFFFFFFFF or 1


@dataclass
class Prober:
    """What all checks of a run share. `seed` makes the keys of two runs differ."""

    enter: Enter
    capture: Capture
    servers: Servers
    dns_address: str
    nodes: dict[str, str]  # a node's name -> its underlay address
    pods: dict[str, str]  # an address -> the name of the pod that has it, as its workload gives it
    resolv_conf: Callable[[str], str]  # a pod's namespace/name -> the text of its /etc/resolv.conf
    ports: Iterator[int]  # of datagrams (`netlab.probe.ports`)
    timeout: float
    seed: int
    met: Callable[[Check, Observed], None] = lambda _check, _observed: None  # after each exchange of a check
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _sequences: Sequences = field(default_factory=Sequences)

    def _identifier(self) -> int:
        return ((self.seed + next(self._numbers)) * IDENTIFIER_STEP) & 0xFFFFFFFF or 1

    def _mark(self) -> str:
        return f"{self.seed & 0xFFFFFFFF:08x}{next(self._numbers) & 0xFFFFFFFF:08x}"

    async def run(self, check: Check) -> Observed:
        """Carry out a check. A probe that broke is NOT_TESTED."""
        try:
            action = check.action
            if isinstance(action, Ask):
                return await self._ask(check.source, action)
            if isinstance(action, LookUp):
                return await self._search(check.source, action.name)
            if isinstance(action, Reach):
                return await self._reach(check, action)
            return await self._visit(check, action)
        except BrokenProbeError as error:
            return Observed(Outcome.NOT_TESTED, str(error))

    # ---- DNS
    async def _ask(self, place: Place, action: Ask) -> Observed:
        answer = await resolve.ask(
            self.enter,
            place.namespace,
            action,
            identifier=self._identifier(),
            sequence=self._sequences.next(),
            ports=self.ports,
            patience=self.timeout,
        )
        self.capture.drain()
        trail = self.capture.take(answer.key)
        said = answer.exchange
        return Observed(said.outcome, said.detail, 1, said.milliseconds, (), answer.records, answer.code, answer.authority, trail)

    async def _search(self, place: Place, name: str) -> Observed:
        """Try a name as the pod's own resolver does: with each search domain in turn, until one has an answer."""
        try:
            config = parse(self.resolv_conf(place.name))
        except OSError as error:
            raise BrokenProbeError(f"cannot read the resolv.conf of pod {place.name}: {error.strerror}") from error
        tried = []
        for candidate in search_list(name, config):
            server = next(iter(config.nameservers), LOOPBACK)
            observed = await self._ask(place, Ask("UDP", server, candidate, "A"))
            tried.append(candidate)
            if observed.records or observed.outcome is not Outcome.ALLOWED:
                break
        detail = f"{observed.detail or observed.response_code} for {', '.join(tried)}, asked of {server}"
        return replace(observed, detail=detail, attempts=len(tried))

    async def _look_up(self, place: Place, name: str, address: str) -> Observed | None:
        """Return None when a name resolves to `address` (and perhaps others), else what went wrong."""
        observed = await self._ask(place, Ask("UDP", self.dns_address, name, "A"))
        addresses = sorted(r.partition(" ")[2] for r in observed.records if r.startswith("A "))
        if address in addresses:
            return None
        why = f"resolved to {', '.join(addresses)}" if addresses else observed.detail or f"{observed.response_code}, no address"
        return replace(observed, outcome=Outcome.DNS_FAILED, detail=f"{name} should resolve to {address}: {why}")

    # ---- the runner's own servers
    async def _reach(self, check: Check, action: Reach) -> Observed:
        address = action.address or action.target.address
        if action.name and (failure := await self._look_up(check.source, action.name, address)):
            return failure
        port = self.servers.port(action.target, action.protocol) if action.protocol != "ICMP" else 0
        exchange, key = await self._send(check, action, (address, port))
        self.capture.drain()
        trail = self.capture.take(key)
        requests = arrived(trail)
        source = source_in(exchange.answer)
        if action.protocol == "ICMP" and requests and exchange.outcome is Outcome.ALLOWED:
            source = requests[-1].packet.source
        hits = (Hit(source=source),) if exchange.outcome is Outcome.ALLOWED else ()
        return self._observed(check, exchange, hits, trail)

    async def _send(self, check: Check, action: Reach, address: tuple[str, int]) -> tuple[Exchange, str]:
        mark, patience, namespace = self._mark(), self.timeout, check.source.namespace
        if action.protocol == "ICMP":
            number = self.seed + int(mark[-4:], 16)  # another identifier each run: conntrack remembers the last run's
            return await sockets.icmp(self.enter, namespace, address[0], mark, identifier=number, patience=patience), mark
        say = MARK + mark.encode()
        if action.protocol == "TCP":
            sequence = self._sequences.next()
            exchange = await sockets.tcp(self.enter, namespace, address, sequence, say=say, until=b"\n", patience=patience)
            return exchange, tcp_key(sequence)
        say = say.ljust(action.size, b".")
        exchange = await sockets.udp(
            self.enter, namespace, address, say=say, ports=self.ports, patience=patience, fragment=not action.size
        )
        return exchange, mark

    # ---- through Services
    async def _visit(self, check: Check, action: Visit) -> Observed:
        if action.name and (failure := await self._look_up(check.source, action.name, action.address)):
            return failure
        for place, port in action.stand_ins:
            self.servers.stand_in(place, action.protocol, port)
        first = await self._attempt(check, action)
        if first.outcome is not Outcome.ALLOWED:
            return first
        shown, hits, attempts = first, list(first.hits), 1
        while size := self._more(check, hits, attempts):
            batch = await asyncio.gather(*(self._attempt(check, action) for _ in range(size)))
            attempts += size
            for observed in batch:
                if observed.outcome is not Outcome.ALLOWED:
                    return replace(observed, attempts=attempts, hits=tuple(hits))
                hits += observed.hits
                if check.expectation.until in {h.backend for h in observed.hits}:
                    shown = observed  # the packet worth showing
        return replace(shown, milliseconds=first.milliseconds, attempts=attempts, hits=tuple(hits))

    def _more(self, check: Check, hits: list[Hit], attempts: int) -> int:
        """Return how many more connections to make."""
        expected = check.expectation
        missing = (expected.wanted - {h.backend for h in hits}) or (expected.nodes - {h.node for h in hits})
        if not (missing or expected.sticky):
            return 0
        return min(2 * max(len(expected.backends), len(expected.nodes)), LONGEST_BATCH, expected.attempts - attempts)

    async def _attempt(self, check: Check, action: Visit) -> Observed:
        address, patience = (action.address, action.port), self.timeout
        if action.protocol == "TCP":
            sequence = self._sequences.next()
            key = tcp_key(sequence)
            say = _http(action) if action.talk is Talk.HTTP else b""
            exchange = await sockets.tcp(
                self.enter, check.source.namespace, address, sequence, say=say, until=END_OF_HEADERS, patience=patience
            )
        else:
            exchange, key = await self._datagram(check, action, patience)
        self.capture.drain()
        trail = turn(self.capture.take(key))
        hits = (self._hit(check, action, trail, exchange),) if exchange.outcome is Outcome.ALLOWED else ()
        return self._observed(check, exchange, hits, trail)

    async def _datagram(self, check: Check, action: Visit, patience: float) -> tuple[Exchange, str]:
        """Send a datagram. Of a server that does not answer, the arrival at a backend is proof enough."""
        key = self._mark()
        say = MARK + key.encode()
        if action.talk is Talk.AGNHOST:
            say = b"echo " + say
        backends = set(check.expectation.backends)
        arrived = None
        if action.talk is Talk.SILENT:
            arrived = self.capture.arrival(key, lambda packet: _ends_at(packet) in backends)
        exchange = await sockets.udp(
            self.enter,
            check.source.namespace,
            (action.address, action.port),
            say=say,
            ports=self.ports,
            patience=patience,
            arrived=arrived,
        )
        return exchange, key

    def _hit(self, check: Check, action: Visit, trail: tuple[Sighting, ...], exchange: Exchange) -> Hit:
        """Return which backend answered and whom it saw, from the last sighting of the request."""
        pod, client = POD_SAID.search(exchange.answer), CLIENT_SAID.search(exchange.answer)
        said = Hit(pod=pod[1].decode() if pod else "", client=client[1].decode() if client else "")
        requests = arrived(trail)
        if not requests:
            return said
        last = requests[-1]
        backend = _ends_at(last.packet)
        if backend not in check.expectation.sources and backend == f"{action.address}:{action.port}":
            backend = self._delivered_on(last.namespace, check)
        named = self.pods.get(backend.rpartition(":")[0], "")
        node = next((s.namespace for s in requests if s.namespace in self.nodes), "")
        return replace(said, backend=backend, source=last.packet.source if backend else "", named=named, node=node)

    def _delivered_on(self, place: str, check: Check) -> str:
        """Return the one backend on the node's own sockets: translated on arrival, it is never seen translated."""
        own = [b for b in check.expectation.backends if b.rpartition(":")[0] == self.nodes.get(place)]
        return own[0] if len(own) == 1 else ""

    def _observed(self, check: Check, exchange: Exchange, hits: tuple[Hit, ...], trail: tuple[Sighting, ...]) -> Observed:
        """Return what one connection or datagram came to."""
        outcome, detail = exchange.outcome, exchange.detail
        if outcome is not Outcome.ALLOWED:
            trail = first_sent(trail)
        observed = Observed(outcome, detail, 1, exchange.milliseconds, hits, trail=trail, connected=exchange.connected)
        self.met(check, observed)
        return observed


def first_sent(trail: tuple[Sighting, ...]) -> tuple[Sighting, ...]:
    """Leave out what was sent again: of a packet that got lost, the first is the one to follow.

    A repetition may go elsewhere: conntrack forgets the backend of a packet that was dropped, and rules draw another one.
    """
    places = [(s.where, s.direction, s.packet.answer, _begins_at(s.packet), _ends_at(s.packet)) for s in trail]
    return trail[: places.index(places[0], 1)] if places[:1] and places[0] in places[1:] else trail


def turn(trail: tuple[Sighting, ...]) -> tuple[Sighting, ...]:
    """Mark as answers what comes from the first packet on that goes back: an echoed datagram has the probe's own key.

    It goes from where one before it went, to where that or another before it came from. Its ports alone say nothing: masquerading
    gives a request any port, the server's own too (fully-random: once in 64512 connections).
    """
    sources, destinations = set(), set()
    for at, sighting in enumerate(trail):
        source, destination = _begins_at(sighting.packet), _ends_at(sighting.packet)
        if source in destinations and destination in sources:
            return (*trail[:at], *(replace(s, packet=replace(s.packet, answer=True)) for s in trail[at:]))
        sources.add(source)
        destinations.add(destination)
    return trail


def _begins_at(packet: Packet) -> str:
    return f"{packet.source}:{packet.source_port}"


def _ends_at(packet: Packet) -> str:
    return f"{packet.destination}:{packet.destination_port}"


def _http(action: Visit) -> bytes:
    host = action.name.rstrip(".") or f"{action.address}:{action.port}"
    return f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: netlab\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
