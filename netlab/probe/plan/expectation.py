"""What must come of an access, from the meaning of the objects alone (semantics 1, 2.31-2.32, 4, 6).

How it works. A packet for a Service meets the service proxy on one node, `ruler`: the sender's own node for ClusterIP,
LoadBalancer and external addresses (they are caught before they leave), the addressed node for a NodePort, and for a
LoadBalancer address from outside any node that the load balancer may choose. There it is of one of three origins,
which decide the endpoints it may get and whether it is masqueraded:

    entry                     origin    endpoints   masqueraded
    ClusterIP                 pod       Cluster*    only hairpin (6.6, 6.8)
    ClusterIP                 node      Cluster*    yes (6.7)         * Local under internalTrafficPolicy Local
    external, ETP Cluster     any       Cluster     yes (6.5)
    external, ETP Local       pod       Cluster     only hairpin (6.4: short-circuited)
    external, ETP Local       node      Cluster     yes (6.4)
    external, ETP Local       outside   Local       no (6.5)

What surprises: "masqueraded to the node" means the address of the device it leaves by: cni0's for a pod of that
node, flannel.1's for a pod of another, the underlay's for anything else; and a packet delivered to the node's own
sockets does not pass postrouting and keeps its source. A pod's packet to anything but a pod is masqueraded by flannel
where it leaves its node (2.31 e).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum

from netlab.api.services import Service, ServicePort
from netlab.dataplane import names
from netlab.probe.plan.checks import Encapsulation, Expectation, Kind, Place
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.snapshot import Backend, Snapshot


class Entry(Enum):
    """By which of its addresses a Service is entered."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_IP = "externalIP"


class Origin(Enum):
    """Where the service proxy takes a packet to come from."""

    POD = "pod"
    NODE = "node"
    OUTSIDE = "outside"


@dataclass(frozen=True)
class Arrival:
    """A packet as it meets the service proxy on node `ruler`."""

    ruler: str
    origin: Origin
    address: str


@dataclass(frozen=True)
class Access:
    """A source that enters one port of a Service at `address` (of node `via` for a NodePort)."""

    source: Place
    service: Service
    port: ServicePort
    entry: Entry
    address: str
    via: str = ""


# ---- direct traffic, no Service
def direct(snapshot: Snapshot, source: Place, target: Place) -> Expectation:
    """Return what must come of a packet between two places."""
    if source.kind is Kind.CLIENT and target.kind is Kind.POD:
        # A router says "no route" to one sender about once a second only (net.ipv4.route.error_cost) and is silent in
        # between: what proves the absence of a way is that the packet ended at the edge.
        reason = "the outside has no route to pods (semantics 1.4)"
        return Expectation((Outcome.UNREACHABLE, Outcome.DROPPED), reason, ends=names.EDGE)
    seen = frozenset({direct_source(snapshot, source, target)})
    return Expectation((Outcome.ALLOWED,), sources={"": seen}, encapsulation=encapsulation(snapshot, source, target))


def direct_source(snapshot: Snapshot, source: Place, target: Place) -> str:
    """Return the source address that the target sees (semantics 1.2, 1.4, 2.15, 2.31)."""
    if source.kind is Kind.POD:
        own = target.kind is Kind.POD or target.node == source.node
        return source.address if own else snapshot.addresses[source.node].underlay
    if source.kind is Kind.NODE and target.kind is Kind.POD:
        addresses = snapshot.addresses[source.node]
        return addresses.gateway if target.node == source.node else addresses.overlay
    return source.address


def encapsulation(snapshot: Snapshot, source: Place, target: Place) -> Encapsulation | None:
    """Return the header that must be around a packet between pods (or node and pod); None where it does not matter."""
    if target.kind is not Kind.POD or source.kind not in {Kind.POD, Kind.NODE}:
        return None
    if source.node == target.node:
        return Encapsulation()
    if snapshot.overlay.tunnel is None:
        return Encapsulation()
    nodes = snapshot.addresses
    return Encapsulation(nodes[source.node].underlay, nodes[target.node].underlay, *snapshot.overlay.tunnel)


# ---- traffic through Services
def through_service(snapshot: Snapshot, access: Access) -> Expectation:
    """Return outcome, possible backends and the source address each must see."""
    if forbidden_source(access):
        reason = "the source is not in loadBalancerSourceRanges (semantics 6.12)"
        return Expectation((Outcome.DROPPED,), reason, ends=first_ruler(access))
    if not usable(snapshot, access, access.via or access.source.node, local=False):
        return Expectation((Outcome.REFUSED,), "the Service has no endpoints (semantics 6.3)", ends=first_ruler(access))
    sources: dict[str, frozenset[str]] = {}
    chances: dict[str, float] = {}
    ways = arrivals(snapshot, access)
    for arrival in ways:
        possible = usable(snapshot, access, arrival.ruler, local=only_local(access, arrival.origin))
        for backend in possible:
            key, seen = backend.key, source_seen(snapshot, access, arrival, backend)
            sources[key] = sources[key] | seen if key in sources else seen
            chances[key] = chances.get(key, 0.0) + 1 / (len(ways) * len(possible))
    if not sources:
        reason = "the traffic policy is Local and the node has no endpoint (semantics 6.3)"
        return Expectation((Outcome.DROPPED,), reason, ends=first_ruler(access))
    return Expectation((Outcome.ALLOWED,), sources=sources, chances=chances)


def first_ruler(access: Access) -> str:
    """Return the place whose rules decide whether a packet gets anywhere: the edge, or the node where it meets the proxy.

    The edge refuses at once for a load balancer without a healthy node, and keeps loadBalancerSourceRanges.
    """
    if access.source.kind is Kind.CLIENT and access.entry is Entry.LOAD_BALANCER:
        return names.EDGE
    return access.via or access.source.node


def unused_port(access: Access) -> Expectation:
    """Return what a port does that an address of a Service does not have: refuse (semantics 8.5)."""
    return Expectation((Outcome.REFUSED,), "the address has no such port (semantics 8.5)", ends=first_ruler(access))


def unassigned_address(source: Place) -> Expectation:
    """Return what an address of the Service range does that no Service has: nothing, and no packet leaves the node."""
    reason = "no Service has this address of the Service range (semantics 8.5)"
    return Expectation((Outcome.DROPPED,), reason, ends=source.node)


def arrivals(snapshot: Snapshot, access: Access) -> tuple[Arrival, ...]:
    """Return where and as what the packet may meet the service proxy."""
    source = access.source
    if source.kind is Kind.CLIENT and access.entry is Entry.LOAD_BALANCER:
        nodes = snapshot.addresses
        if access.service.spec.external_traffic_policy == "Local":  # the health checks keep the other nodes out
            nodes = {n: a for n, a in nodes.items() if usable(snapshot, access, n, local=True)}
        return tuple(Arrival(node, Origin.OUTSIDE, source.address) for node in nodes)
    ruler = access.via or source.node
    if source.kind is not Kind.CLIENT and ruler == source.node:
        return (Arrival(ruler, Origin.POD if source.kind is Kind.POD else Origin.NODE, source.address),)
    leaving = snapshot.addresses[source.node].underlay if source.node else source.address
    return (Arrival(ruler, Origin.OUTSIDE, leaving),)


def only_local(access: Access, origin: Origin) -> bool:
    """Tell whether only endpoints of the ruling node may be used (semantics 4.21, 6.2, 6.4)."""
    spec = access.service.spec
    if access.entry is Entry.CLUSTER_IP:
        return spec.internal_traffic_policy == "Local"
    return spec.external_traffic_policy == "Local" and origin is Origin.OUTSIDE


def masqueraded(access: Access, arrival: Arrival, backend: Backend) -> bool:
    """Tell whether the service proxy changes the source address (semantics 6.4-6.8)."""
    if arrival.origin is Origin.NODE:
        return True
    if arrival.origin is Origin.POD and backend.address == access.source.address:
        return True
    return access.entry is not Entry.CLUSTER_IP and access.service.spec.external_traffic_policy != "Local"


def source_seen(snapshot: Snapshot, access: Access, arrival: Arrival, backend: Backend) -> frozenset[str]:
    """Return the source addresses that a backend may see."""
    node = snapshot.addresses[arrival.ruler]
    to_pod = backend.place.kind is Kind.POD
    if backend.address == node.underlay:  # delivered to the node's own sockets: no postrouting
        return node.all if arrival.origin is Origin.NODE else frozenset({arrival.address})
    if masqueraded(access, arrival, backend):
        way_out = node.underlay if not to_pod else node.gateway if backend.place.node == arrival.ruler else node.overlay
        return frozenset({way_out})
    if arrival.origin is Origin.POD and not to_pod:
        return frozenset({node.underlay})
    return frozenset({arrival.address})


def forbidden_source(access: Access) -> bool:
    """Tell whether loadBalancerSourceRanges shuts the source out; they guard the load balancer's address only."""
    ranges = access.service.spec.load_balancer_source_ranges
    if access.entry is not Entry.LOAD_BALANCER or not ranges:
        return False
    address = ipaddress.ip_address(access.source.address)
    return not any(address in ipaddress.ip_network(r.strip(), strict=False) for r in ranges)


# ---- the endpoints that may be used
def usable(snapshot: Snapshot, access: Access, node: str, *, local: bool) -> tuple[Backend, ...]:
    """Return the ready endpoints, or those serving while terminating when none is ready (semantics 6.1, 6.2, 6.13)."""
    service, port = access.service, access.port
    key = (service.key, port.name, port.protocol, node, local)
    if key not in snapshot.usable_backends:
        snapshot.usable_backends[key] = _usable(snapshot, snapshot.backends(service, port), node, local=local)
    return snapshot.usable_backends[key]


def _usable(snapshot: Snapshot, pool: tuple[Backend, ...], node: str, *, local: bool) -> tuple[Backend, ...]:
    if local:
        pool = tuple(b for b in pool if node and node in (b.endpoint.node_name, b.place.node))
    ready = tuple(b for b in pool if b.endpoint.conditions.is_ready)
    if ready:
        return ready if local else hinted(ready, node, snapshot.zones.get(node, ""))
    return tuple(b for b in pool if b.endpoint.conditions.is_serving and b.endpoint.conditions.is_terminating)


def hinted(ready: tuple[Backend, ...], node: str, zone: str) -> tuple[Backend, ...]:
    """Keep to topology hints, unless one endpoint has none or none is for us (semantics 6.13)."""
    if any(backend.endpoint.hints is None for backend in ready):
        return ready
    for mine, attribute in ((node, "for_nodes"), (zone, "for_zones")):
        hints = [{z.name for z in getattr(b.endpoint.hints, attribute, ())} for b in ready]
        if mine and all(hints) and any(mine in h for h in hints):
            return tuple(b for b, h in zip(ready, hints, strict=True) if mine in h)
    return ready
