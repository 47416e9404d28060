"""From Services to what the load balancer offers: one `Frontend` per port of a Service with a load balancer address.

Rules (semantics 4.10, 4.20, 6.12, 6.15):
1. Type LoadBalancer, no loadBalancerClass (that would be another balancer's), an address in status.loadBalancer.
2. The way in is the node port. A port without one (`allocateLoadBalancerNodePorts: false`) is sent on as it came, the load
   balancer's address still its destination, which the node's service proxy takes. Under ipMode Proxy nodes do not know the
   address, so there such a port cannot be served: an event on the Service says so.
3. Under externalTrafficPolicy Local every node says on healthCheckNodePort whether it has a ready endpoint; under
   Cluster every node will do, and what is checked is the way itself: the node port for TCP. UDP has no handshake, so
   there the node's own health (kube-proxy's port 10256) must do, and so it must where there is no node port.
4. Objects are parsed here: a Service or Node that holds what cannot be an address, a port or a name is left out, alone
   (`Offered.refused` says which and why), and no text of a user goes further than this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from netlab.api import values
from netlab.api.cluster import Node
from netlab.api.services import Service, ServicePort
from netlab.api.values import Cidr, HostName, Ip, Transport
from netlab.containment import Contained, describe
from netlab.family import Family
from netlab.proxy.health import HEALTHZ_PORT
from netlab.proxy.servicemap import affinity_timeout

NO_NODE_PORT = (
    "Port {ports} has no node port (is allocateLoadBalancerNodePorts false?), and under ipMode Proxy no node takes packets for "
    "the load balancer's address: nothing is forwarded. Allow node ports on the Service."
)


class CheckKind(Enum):
    """How a node is asked whether it can take traffic."""

    TCP = "tcp"  # a connection can be made
    HTTP = "http"  # GET /healthz answers 200


@dataclass(frozen=True)
class Check:
    """One question to one node. Equal checks of several Services are asked once."""

    kind: CheckKind
    address: Ip
    port: int

    def __str__(self) -> str:
        target = f"{self.address}:{self.port}"
        return f"connect to {target}" if self.kind is CheckKind.TCP else f"GET http://{target}/healthz"


@dataclass(frozen=True, order=True)
class Backend:
    """A node that traffic can be sent to."""

    name: HostName
    address: Ip


@dataclass(frozen=True)
class Frontend:
    """One port of one Service at its load balancer addresses. `protocol` is in lower case; `node_port` 0: sent on as it came."""

    namespace: HostName
    service: HostName
    protocol: Transport
    port: int
    node_port: int
    addresses: tuple[Ip, ...]
    source_ranges: tuple[Cidr, ...] = ()  # prefixes that do not overlap; empty: everybody
    affinity_timeout: int = 0  # seconds; 0: no session affinity
    health_check_node_port: int = 0  # 0: externalTrafficPolicy Cluster

    @property
    def service_key(self) -> str:
        """`namespace/name` of the Service."""
        return f"{self.namespace}/{self.service}"

    @property
    def port_key(self) -> str:
        """The port as reports name it: `80/TCP`."""
        return f"{self.port}/{self.protocol.upper()}"

    @property
    def path(self) -> str:
        """`namespace/service/protocol/port`, as kube-proxy writes it into the names of chains."""
        return f"{self.namespace}/{self.service}/{self.protocol}/{self.port}"

    def check(self, backend: Backend) -> Check:
        """Return the question that decides whether this node gets this port's traffic."""
        if self.health_check_node_port:
            return Check(CheckKind.HTTP, backend.address, self.health_check_node_port)
        if self.protocol == "tcp" and self.node_port:
            return Check(CheckKind.TCP, backend.address, self.node_port)
        return Check(CheckKind.HTTP, backend.address, HEALTHZ_PORT)


@dataclass(frozen=True)
class Offered:
    """What the load balancer offers, the addresses it answers at, and the objects left out: `service ns/name` -> why."""

    frontends: tuple[Frontend, ...] = ()
    addresses: frozenset[Ip] = frozenset()
    refused: Mapping[str, Exception] = field(default_factory=dict)


@dataclass(frozen=True)
class Usable:
    """The nodes that can be asked, in order of name, and those left out: `node name` -> why."""

    backends: tuple[Backend, ...] = ()
    refused: Mapping[str, Exception] = field(default_factory=dict)


def offered(services: Iterable[Service], family: Family) -> Offered:
    """Return what is offered, in order of name. Of two Services with the same address and port the first by name has it."""
    taken: set[tuple[Ip, Transport, int]] = set()
    found: list[Frontend] = []
    addresses: set[Ip] = set()
    refused: dict[str, Exception] = {}
    for service in sorted(services, key=lambda s: s.key):
        own: list[Frontend] = []
        with Contained() as attempt:
            given = load_balancer_addresses(service, family)
            every = (_frontend(service, port, given, family) for port in service.spec.ports)
            own = [frontend for frontend in every if frontend.addresses]
        if attempt.error:
            refused[f"service {service.key}"] = attempt.error
            continue
        addresses.update(given)
        for frontend in own:
            free = tuple(a for a in frontend.addresses if (a, frontend.protocol, frontend.port) not in taken)
            taken.update((address, frontend.protocol, frontend.port) for address in free)
            if free:
                found.append(replace(frontend, addresses=free))
    return Offered(tuple(found), frozenset(addresses), refused)


def frontends(services: Iterable[Service], family: Family) -> tuple[Frontend, ...]:
    """Return the frontends alone."""
    return offered(services, family).frontends


def _frontend(
    service: Service,
    port: ServicePort,
    addresses: tuple[Ip, ...],
    family: Family,
) -> Frontend:
    """Return a port's frontend at those of the addresses where there is a way in."""
    spec = service.spec
    unknown_to_nodes = {ingress.ip for ingress in service.status.load_balancer.ingress if ingress.ip_mode == "Proxy"}
    local = spec.external_traffic_policy == "Local"
    return Frontend(
        namespace=values.host_name(service.metadata.namespace, "metadata.namespace"),
        service=values.host_name(service.metadata.name, "metadata.name"),
        protocol=values.transport(port.protocol, "the protocol of a port"),
        port=values.port(port.port, "a port"),
        node_port=values.port_or_none(port.node_port, "a nodePort"),
        addresses=tuple(a for a in addresses if port.node_port or a not in unknown_to_nodes),
        source_ranges=values.source_ranges(
            spec.load_balancer_source_ranges,
            "spec.loadBalancerSourceRanges",
            family,
        ),
        affinity_timeout=affinity_timeout(service),
        health_check_node_port=values.port_or_none(spec.health_check_node_port, "spec.healthCheckNodePort") if local else 0,
    )


def is_ours(service: Service) -> bool:
    """Tell whether this load balancer, and not another one, serves the Service."""
    return service.spec.type == "LoadBalancer" and not service.spec.load_balancer_class


def load_balancer_addresses(service: Service, family: Family) -> tuple[Ip, ...]:
    """Return the addresses the Service has been given, none for other kinds of Services. Raises InvalidValueError."""
    if not is_ours(service):
        return ()
    given = [ingress.ip for ingress in service.status.load_balancer.ingress if ingress.ip]
    field = "an address of status.loadBalancer"
    return tuple(dict.fromkeys(values.unicast(address, field, family) for address in given))


def unserved(
    services: Iterable[Service],
    refused: Mapping[str, Exception],
    family: Family,
) -> Iterator[tuple[Service, str]]:
    """Yield the Services that cannot be served though they are ours, with the sentence for their event."""
    for service in services:
        if error := refused.get(f"service {service.key}"):
            yield service, f"The load balancer does not serve this Service: {describe(error)}"
            continue
        served = {(frontend.protocol, frontend.port) for frontend in frontends((service,), family)}
        missing = [str(p.port) for p in service.spec.ports if (p.protocol.lower(), p.port) not in served]
        if load_balancer_addresses(service, family) and missing:
            yield service, NO_NODE_PORT.format(ports=", ".join(missing))


def usable(nodes: Iterable[Node], family: Family) -> Usable:
    """Return the nodes that can be asked: those with an address that are not being deleted."""
    found: list[Backend] = []
    refused: dict[str, Exception] = {}
    for node in nodes:
        if node.metadata.deletion_timestamp or not node.has_address:
            continue
        with Contained() as attempt:
            name = values.host_name(node.metadata.name, "metadata.name")
            found.append(Backend(name, node.address_of(family)))
        if attempt.error:
            refused[f"node {node.metadata.name}"] = attempt.error
    return Usable(tuple(sorted(found)), refused)


def backends(nodes: Iterable[Node], family: Family) -> tuple[Backend, ...]:
    """Return the usable nodes alone."""
    return usable(nodes, family).backends
