"""From Services to what the load balancer offers: one `Frontend` per port of a Service with a load balancer address.

Rules (semantics 4.10, 4.20, 6.12, 6.15):
1. Type LoadBalancer, no loadBalancerClass (that would be another balancer's), an address in status.loadBalancer.
2. The way in is the node port. With `allocateLoadBalancerNodePorts: false` there is none, and so there is no way: an
   event on the Service says so.
3. Under externalTrafficPolicy Local every node says on healthCheckNodePort whether it has a ready endpoint; under
   Cluster every node will do, and what is checked is the way itself: the node port for TCP. UDP has no handshake, so
   there the node's own health (kube-proxy's port 10256) must do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, collapse_addresses

from netlab.api.cluster import Node
from netlab.api.services import Service, ServicePort
from netlab.proxy.health import HEALTHZ_PORT

EVERYBODY = IPv4Network("0.0.0.0/0")
NO_NODE_PORT = (
    "Port {ports} has no node port (is allocateLoadBalancerNodePorts false?), and this load balancer reaches the nodes "
    "through node ports only: nothing is forwarded. Allow node ports on the Service."
)


class CheckKind(Enum):
    """How a node is asked whether it can take traffic."""

    TCP = "tcp"  # a connection can be made
    HTTP = "http"  # GET /healthz answers 200


@dataclass(frozen=True)
class Check:
    """One question to one node. Equal checks of several Services are asked once."""

    kind: CheckKind
    address: str
    port: int

    def __str__(self) -> str:
        target = f"{self.address}:{self.port}"
        return f"connect to {target}" if self.kind is CheckKind.TCP else f"GET http://{target}/healthz"


@dataclass(frozen=True, order=True)
class Backend:
    """A node that traffic can be sent to."""

    name: str
    address: str


@dataclass(frozen=True)
class Frontend:
    """One port of one Service at its load balancer addresses. `protocol` is in lower case."""

    namespace: str
    service: str
    protocol: str
    port: int
    node_port: int
    addresses: tuple[str, ...]
    source_ranges: tuple[str, ...] = ()  # prefixes that do not overlap; empty: everybody
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
        if self.protocol == "tcp":
            return Check(CheckKind.TCP, backend.address, self.node_port)
        return Check(CheckKind.HTTP, backend.address, HEALTHZ_PORT)


def frontends(services: Iterable[Service]) -> tuple[Frontend, ...]:
    """Return what is offered, in order of name. Of two Services with the same address and port the first by name has it."""
    taken: set[tuple[str, str, int]] = set()
    offered: list[Frontend] = []
    for service in sorted(services, key=lambda s: s.key):
        addresses = load_balancer_addresses(service)
        for port in service.spec.ports:
            keys = {(address, port.protocol, port.port) for address in addresses}
            free = tuple(a for a in addresses if (a, port.protocol, port.port) not in taken)
            if free and port.node_port:
                taken |= keys
                offered.append(_frontend(service, port, free))
    return tuple(offered)


def _frontend(service: Service, port: ServicePort, addresses: tuple[str, ...]) -> Frontend:
    spec = service.spec
    local = spec.external_traffic_policy == "Local"
    return Frontend(
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        protocol=port.protocol.lower(),
        port=port.port,
        node_port=port.node_port,
        addresses=addresses,
        source_ranges=_ranges(spec.load_balancer_source_ranges),
        affinity_timeout=service.affinity_timeout,
        health_check_node_port=spec.health_check_node_port if local else 0,
    )


def _ranges(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Return prefixes that do not overlap, which is what nft wants of a set of them; none for everybody."""
    networks = tuple(collapse_addresses(IPv4Network(prefix.strip(), strict=False) for prefix in prefixes))
    return () if EVERYBODY in networks else tuple(str(network) for network in networks)


def is_ours(service: Service) -> bool:
    """Tell whether this load balancer, and not another one, serves the Service."""
    return service.spec.type == "LoadBalancer" and not service.spec.load_balancer_class


def load_balancer_addresses(service: Service) -> tuple[str, ...]:
    """Return the addresses the Service has been given, none for other kinds of Services."""
    if not is_ours(service):
        return ()
    return tuple(ingress.ip for ingress in service.status.load_balancer.ingress if ingress.ip)


def unserved(services: Iterable[Service]) -> Iterator[tuple[Service, str]]:
    """Yield the Services that cannot be served though they are ours, with the sentence for their event."""
    for service in services:
        missing = [str(port.port) for port in service.spec.ports if not port.node_port]
        if load_balancer_addresses(service) and missing:
            yield service, NO_NODE_PORT.format(ports=", ".join(missing))


def backends(nodes: Iterable[Node]) -> tuple[Backend, ...]:
    """Return the nodes that can be asked, in order of name: those with an address that are not being deleted."""
    usable = (n for n in nodes if n.internal_ip and not n.metadata.deletion_timestamp)
    return tuple(sorted(Backend(n.metadata.name, n.internal_ip) for n in usable))
