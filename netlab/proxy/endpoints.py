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
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from netlab.api.discovery import Endpoint, EndpointSlice


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """One address and port that may receive traffic. `local`: it is on this node."""

    address: str
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


def order(endpoint: EndpointInfo) -> tuple[tuple[int, ...], int]:
    """Sort addresses as numbers: the same endpoints always give the same rules."""
    return (tuple(map(int, endpoint.address.split("."))), endpoint.port)


def is_ipv4(address: str) -> bool:
    """Tell whether a text is an IPv4 address and nothing else."""
    try:
        IPv4Address(address)
    except AddressValueError:
        return False
    return True


PortKey = tuple[str, str]  # name of the service port ("" when it has none), protocol in upper case


def merge_slices(slices: Iterable[EndpointSlice], node: NodeTopology) -> dict[PortKey, tuple[EndpointInfo, ...]]:
    """Return the endpoints per service port, from all slices of a Service, each endpoint once (semantics 5.10)."""
    found: dict[PortKey, dict[str, EndpointInfo]] = {}
    for piece in slices:
        if piece.address_type != "IPv4":
            continue
        for port in piece.ports:
            if not port.port:  # "all ports" has no meaning for a proxy
                continue
            members = found.setdefault((port.name, port.protocol), {})
            for endpoint in piece.endpoints:
                _add(members, endpoint, port.port, node)
    return {key: tuple(sorted(members.values(), key=order)) for key, members in found.items()}


def _add(members: dict[str, EndpointInfo], endpoint: Endpoint, port: int, node: NodeTopology) -> None:
    if not endpoint.addresses or not is_ipv4(endpoint.addresses[0]):
        return
    conditions, hints = endpoint.conditions, endpoint.hints
    info = EndpointInfo(
        address=endpoint.addresses[0],  # consumers use the first address only
        port=port,
        ready=conditions.is_ready,
        serving=conditions.is_serving,
        terminating=conditions.is_terminating,
        local=endpoint.node_name == node.name and bool(node.name),
        zones=tuple(h.name for h in hints.for_zones) if hints else (),
        nodes=tuple(h.name for h in hints.for_nodes) if hints else (),
    )
    known = members.get(str(info))
    if known is None or info.rank > known.rank:
        members[str(info)] = info


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
