"""Endpoints as a service proxy sees them: merged from slices, then sorted into those that traffic may use.

Rules (semantics 6.1 to 6.3, 6.13, 6.16)
1. *Cluster* traffic uses the ready endpoints, narrowed by topology hints; if there is none ready anywhere, those that
   are terminating but still serve.
2. *Local* traffic uses the ready endpoints of this node; if it has none, its own terminating ones that still serve.
   It is decided without a look at the Cluster set, and topology does not narrow it.
3. Whether there is *any* endpoint is asked for the whole cluster: it decides between "refused" and "dropped".
4. Hints count only if every ready endpoint carries one and at least one of them is for this node, or else this zone.

What would surprise you
    - An endpoint that is neither ready nor (terminating and serving) gets no traffic under any rule.
    - While an endpoint moves between slices both may list it: it is one endpoint, in the better of the two states.
    - A slice is parsed when it comes (`parse_slice`). One that holds what cannot be an endpoint is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from netlab.api import values
from netlab.api.discovery import Endpoint, EndpointSlice
from netlab.api.values import Ip
from netlab.family import Family, number


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """One address and port that may receive traffic. `local`: it is on this node."""

    address: Ip
    port: int
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    local: bool = False
    zones: tuple[str, ...] = ()  # hinted for
    nodes: tuple[str, ...] = ()  # hinted for

    @property
    def fallback(self) -> bool:
        """It is on its way out and still answers: better than nothing."""
        return not self.ready and self.serving and self.terminating

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """The better state of two sorts higher."""
        return (self.ready, self.fallback, self.serving)

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class NodeTopology:
    """Which node the rules are for."""

    name: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class UsableEndpoints:
    """The endpoints of one service port, sorted by use; each tuple is ordered by address and port."""

    cluster: tuple[EndpointInfo, ...] = ()
    local: tuple[EndpointInfo, ...] = ()
    any_in_cluster: bool = False

    @property
    def reachable(self) -> tuple[EndpointInfo, ...]:
        """All that some traffic of this node may reach."""
        if not self.local:
            return self.cluster
        return tuple(sorted({str(e): e for e in (*self.cluster, *self.local)}.values(), key=order))


NO_ENDPOINTS = UsableEndpoints()


def order(endpoint: EndpointInfo) -> tuple[int, int]:
    """Sort addresses as numbers: the same endpoints always give the same rules."""
    return (number(endpoint.address), endpoint.port)


PortKey = tuple[str, str]  # name of the service port ("" when it has none), protocol in upper case
Offer = Mapping[PortKey, tuple[EndpointInfo, ...]]  # what one slice offers


def parse_slice(piece: EndpointSlice, node_name: str, family: Family) -> Offer:
    """Return what a slice offers, seen from a node. Raises InvalidValueError when any of it cannot be an endpoint."""
    offer: dict[PortKey, tuple[EndpointInfo, ...]] = {}
    if piece.address_type != family.name:
        return offer
    for port in piece.ports:
        protocol = values.transport(port.protocol, f"the protocol of port {values.shown(port.name)}").upper()
        if port.port:  # "all ports" has no meaning for a proxy
            target = values.port(port.port, f"port {values.shown(port.name)}")
            found = (endpoint for endpoint in piece.endpoints if endpoint.addresses)
            infos = (_parse_endpoint(endpoint, target, node_name, family) for endpoint in found)
            offer[port.name, protocol] = (*offer.get((port.name, protocol), ()), *infos)
    return offer


def merge_offers(offers: Iterable[Offer]) -> dict[PortKey, tuple[EndpointInfo, ...]]:
    """Return the endpoints per service port, from all slices of a Service, each endpoint once (semantics 5.10)."""
    found: dict[PortKey, dict[tuple[str, int], EndpointInfo]] = {}
    for offer in offers:
        for key, infos in offer.items():
            members = found.setdefault(key, {})
            for info in infos:
                known = members.get((info.address, info.port))
                if known is None or info.rank > known.rank:
                    members[info.address, info.port] = info
    return {key: tuple(sorted(members.values(), key=order)) for key, members in found.items()}


def _parse_endpoint(endpoint: Endpoint, port: int, node_name: str, family: Family) -> EndpointInfo:
    conditions, hints = endpoint.conditions, endpoint.hints
    return EndpointInfo(
        # consumers use the first address only
        address=values.unicast(endpoint.addresses[0], "the address of an endpoint", family),
        port=port,
        ready=conditions.is_ready,
        serving=conditions.is_serving,
        terminating=conditions.is_terminating,
        local=endpoint.node_name == node_name and bool(node_name),
        zones=tuple(h.name for h in hints.for_zones) if hints else (),
        nodes=tuple(h.name for h in hints.for_nodes) if hints else (),
    )


def usable_endpoints(
    endpoints: Sequence[EndpointInfo], node: NodeTopology, *, uses_cluster: bool, uses_local: bool
) -> UsableEndpoints:
    """Sort endpoints by use. A set that the service port never uses stays empty."""
    ready = [e for e in endpoints if e.ready]
    fallback = [e for e in endpoints if e.fallback]
    cluster = (_near(ready, node) or fallback) if uses_cluster else []
    local = ([e for e in ready if e.local] or [e for e in fallback if e.local]) if uses_local else []
    return UsableEndpoints(tuple(cluster), tuple(local), any_in_cluster=bool(ready or fallback))


def _near(ready: list[EndpointInfo], node: NodeTopology) -> list[EndpointInfo]:
    """Narrow ready endpoints by topology hints (semantics 6.13): same node, else same zone, else all."""
    if all(e.nodes for e in ready) and (near := [e for e in ready if node.name in e.nodes]):
        return near
    if node.zone and all(e.zones for e in ready) and (near := [e for e in ready if node.zone in e.zones]):
        return near
    return ready
