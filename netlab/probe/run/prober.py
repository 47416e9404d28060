"""Carries out one check: its action, as often as its expectation needs, and what was seen of it in the captures.

"Until all backends have answered" is bounded by `Expectation.attempts`, from the probability of a false alarm. Attempts look
for more backends; none repeats a failure: the first attempt that does not succeed is the check's outcome.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from netlab.dns.resolver import LOOPBACK, parse, search_list
from netlab.probe.plan.checks import Ask, Check, LookUp, Place, Reach, Talk, Visit
from netlab.probe.plan.outcome import Outcome
from netlab.probe.run import resolve, sockets
from netlab.probe.run.capture import Capture
from netlab.probe.run.observed import Hit, Observed, arrived
from netlab.probe.run.servers import Servers, source_in
from netlab.probe.run.sockets import Exchange
from netlab.probe.run.vantage import BrokenProbeError, Vantage
from netlab.probe.run.wire import MARK, Packet, Sighting, tcp_key

LONGEST_BATCH = 20
POD_SAID = re.compile(rb"(?im)^X-Netlab-Pod:\s*(\S+)")
CLIENT_SAID = re.compile(rb"(?im)^X-Netlab-Client:\s*([\d.]+)")
END_OF_HEADERS = b"\r\n\r\n"


@dataclass
class Prober:
    """The state that all checks of a run share."""

    vantage: Callable[[str], Vantage]  # a namespace's name -> how probes are sent from there
    capture: Capture
    servers: Servers
    dns_address: str
    nodes: dict[str, str]  # a node's name -> its underlay address
    pods: dict[str, str]  # an address -> the name of the pod that has it, as its workload gives it
    resolv_conf: Callable[[str], str]  # a pod's namespace/name -> the text of its /etc/resolv.conf
    met: Callable[[Check, Observed], None] = lambda _check, _observed: None  # after each exchange of a check

    async def run(self, check: Check) -> Observed:
        """Carry out a check. A probe that fails itself is NOT_TESTED."""
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
        answer = await resolve.ask(self.vantage(place.namespace), action)
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
        detail = f"{observed.detail or observed.response_code} for {', '.join(tried)} from server {server}"
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
        vantage = self.vantage(check.source.namespace)
        mark = vantage.keys.mark()
        if action.protocol == "ICMP":
            return await sockets.icmp(vantage, address[0], mark), mark
        say = MARK + mark.encode()
        if action.protocol == "TCP":
            sequence = vantage.keys.sequence()
            exchange = await sockets.tcp(vantage, address, sequence, say=say, until=b"\n")
            return exchange, tcp_key(sequence)
        say = say.ljust(action.size, b".")
        return await sockets.udp(vantage, address, say, fragment=not action.size), mark

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
        vantage = self.vantage(check.source.namespace)
        if action.protocol == "TCP":
            sequence = vantage.keys.sequence()
            key = tcp_key(sequence)
            say = _http(action) if action.talk is Talk.HTTP else b""
            address = (action.address, action.port)
            exchange = await sockets.tcp(vantage, address, sequence, say=say, until=END_OF_HEADERS)
        else:
            exchange, key = await self._datagram(vantage, check, action)
        self.capture.drain()
        trail = turn(self.capture.take(key))
        hits = (self._hit(check, action, trail, exchange),) if exchange.outcome is Outcome.ALLOWED else ()
        return self._observed(check, exchange, hits, trail)

    async def _datagram(self, vantage: Vantage, check: Check, action: Visit) -> tuple[Exchange, str]:
        """Send a datagram. If the server does not answer, the arrival at a backend is enough."""
        key = vantage.keys.mark()
        say = MARK + key.encode()
        if action.talk is Talk.AGNHOST:
            say = b"echo " + say
        backends = set(check.expectation.backends)
        arrived = None
        if action.talk is Talk.SILENT:
            arrived = self.capture.arrival(key, lambda packet: _ends_at(packet) in backends)
        address = (action.address, action.port)
        return await sockets.udp(vantage, address, say, arrived=arrived), key

    def _hit(self, check: Check, action: Visit, trail: tuple[Sighting, ...], exchange: Exchange) -> Hit:
        """Return the backend that answered and the source it saw, from the last sighting of the request."""
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
        """Return the result of one connection or datagram."""
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

    It goes from where one before it went, to where that or another before it came from. Ports alone prove little: masquerading
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
