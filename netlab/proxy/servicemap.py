"""Services and EndpointSlices -> what a service proxy must do, per service port: the input of every proxy mode.

How it works
    `ServiceTracker` is told what changed, one object at a time, and `current()` gives a `ServicePortMap`. Only Services
    that something touched are computed again; of all others the map holds the same objects as before, by which the
    compiler knows that their rules need no second look. `build()` does all of it at once.

Rules
1. Left out (semantics 4.13, 4.17, 6.23): ExternalName, headless, without a ClusterIP yet, labelled for another proxy.
2. Both halves must have been listed once before anything is programmed (semantics 6.20); that is the caller's part.
3. A node port counts for type NodePort and LoadBalancer only; a load balancer address of ipMode Proxy not at all (4.11).
4. An address and port lead to one Service, even when several claim it (`netlab.proxy.claims`).
5. Objects are parsed when they come: what goes on from here are addresses and ports, never a user's text. A Service or
   slice that does not parse, or cannot be worked on for any other reason, is left out alone; `refused` says which and why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from netlab.api import values
from netlab.api.cluster import Node
from netlab.api.discovery import EndpointSlice
from netlab.api.services import Service, ServicePort
from netlab.api.wellknown import HEADLESS_LABEL, PROXY_NAME_LABEL, ZONE_LABEL
from netlab.containment import Contained
from netlab.errors import InvalidValueError
from netlab.family import Family
from netlab.proxy.claims import Claim, all_claims, settle
from netlab.proxy.endpoints import EndpointInfo, NodeTopology, Offer, merge_offers, parse_slice, usable_endpoints
from netlab.proxy.serviceport import ServicePortInfo, ServicePortMap

__all__ = ["ServicePortInfo", "ServicePortMap", "ServiceTracker", "build", "contains", "is_proxied", "service_ports"]

LONGEST_AFFINITY = 86400  # seconds; Kubernetes' limit


def build(
    services: Iterable[Service],
    slices: Iterable[EndpointSlice],
    node: Node,
    family: Family,
) -> ServicePortMap:
    """Return the map of one family for one node, from all objects at once."""
    tracker = ServiceTracker(node, family)
    for service in services:
        tracker.set_service(service.key, service)
    for piece in slices:
        tracker.set_slice(piece.key, piece)
    return tracker.current()


class ServiceTracker:
    """Keeps the map of one family for one node while objects come, change and go."""

    def __init__(self, node: Node, family: Family) -> None:
        self._family = family
        self._node = _topology(node)
        self._services: dict[str, Service] = {}
        self._slices: dict[str, dict[str, Offer]] = {}  # Service -> key of the slice -> what it offers
        self._owner: dict[str, str] = {}  # slice -> Service
        self._ports: dict[str, tuple[ServicePortInfo, ...]] = {}
        self._claims: dict[Claim, set[str]] = {}  # address and port -> Services that claim it
        self._contested: set[Claim] = set()
        self._stale: set[str] = set()
        self.refused: dict[str, Exception] = {}  # `service ns/name` or `endpointslice ns/name` -> why it is left out

    def set_service(self, key: str, service: Service | None) -> None:
        """Take note of a Service, None when it is gone."""
        if service is None:
            self._services.pop(key, None)
        else:
            self._services[key] = service
        self._stale.add(key)

    def set_slice(self, key: str, piece: EndpointSlice | None) -> None:
        """Take note of an EndpointSlice, None when it is gone. It may have moved to another Service."""
        if former := self._owner.pop(key, ""):
            del self._slices[former][key]
            self._stale.add(former)
        self.refused.pop(f"endpointslice {key}", None)
        if piece is None:
            return
        with Contained() as attempt:
            owner, offer = piece.service_key, parse_slice(piece, self._node.name, self._family)
            self._owner[key] = owner
            self._slices.setdefault(owner, {})[key] = offer
            self._stale.add(owner)
        if attempt.error:
            self.refused[f"endpointslice {key}"] = attempt.error

    def set_node(self, node: Node) -> None:
        """Take note of this node's labels: a changed zone concerns every Service with hints."""
        topology = _topology(node)
        if topology != self._node:
            self._node = topology
            self._stale.update(self._services)

    def current(self) -> ServicePortMap:
        """Return the map as of now; ports of Services that did not change are the same objects as last time."""
        for key in self._stale:
            self.refused.pop(f"service {key}", None)
            ports: tuple[ServicePortInfo, ...] = ()
            with Contained() as attempt:
                ports = self._ports_of(key)
            if attempt.error:
                self.refused[f"service {key}"] = attempt.error
            if self._ports.get(key, ()) != ports:
                self._replace(key, ports)
        self._stale.clear()
        return settle(self._ports) if self._contested else dict(self._ports)

    def _ports_of(self, key: str) -> tuple[ServicePortInfo, ...]:
        service, offers = self._services.get(key), self._slices.get(key, {})
        if not offers:
            self._slices.pop(key, None)
        if service is None:
            return ()
        ordered = [offers[name] for name in sorted(offers)]
        return service_ports(service, ordered, self._node, self._family)

    def _replace(self, key: str, ports: tuple[ServicePortInfo, ...]) -> None:
        before, after = all_claims(self._ports.pop(key, ())), all_claims(ports)
        for claim in before - after:
            self._claims[claim].discard(key)
            if len(self._claims[claim]) < 2:
                self._contested.discard(claim)
            if not self._claims[claim]:
                del self._claims[claim]
        for claim in after - before:
            rivals = self._claims.setdefault(claim, set())
            rivals.add(key)
            if len(rivals) > 1:
                self._contested.add(claim)
        if ports:
            self._ports[key] = ports


def _topology(node: Node) -> NodeTopology:
    return NodeTopology(node.metadata.name, node.metadata.labels.get(ZONE_LABEL, ""))


def is_proxied(service: Service) -> bool:
    """Tell whether a Service is the service proxy's business."""
    labels, spec = service.metadata.labels, service.spec
    return (
        spec.type != "ExternalName"
        and spec.cluster_ip not in {"", "None"}
        and PROXY_NAME_LABEL not in labels
        and HEADLESS_LABEL not in labels
    )


def service_ports(
    service: Service,
    offers: Iterable[Offer],
    node: NodeTopology,
    family: Family,
) -> tuple[ServicePortInfo, ...]:
    """Return the ports of one Service with their endpoints; none if this proxy does not serve it.

    Raises InvalidValueError when the Service holds what cannot be: it is then not served at all.
    """
    if not is_proxied(service):
        return ()
    if not values.addresses([service.spec.cluster_ip], "spec.clusterIP", family):
        return ()
    endpoints = merge_offers(offers)
    ports: dict[tuple[str, int], ServicePortInfo] = {}
    for port in service.spec.ports:
        info = _port(service, port, endpoints.get((port.name, port.protocol), ()), family)
        usable = usable_endpoints(info.endpoints, node, uses_cluster=info.uses_cluster, uses_local=info.uses_local)
        ports.setdefault((info.protocol, info.port), replace(info, usable=usable))
    return tuple(ports.values())


def _port(
    service: Service,
    port: ServicePort,
    endpoints: tuple[EndpointInfo, ...],
    family: Family,
) -> ServicePortInfo:
    spec = service.spec
    has_node_ports = spec.type in {"NodePort", "LoadBalancer"}
    externally = has_node_ports or bool(spec.external_ips)
    external_local = externally and spec.external_traffic_policy == "Local"
    given = [entry.ip for entry in service.status.load_balancer.ingress if entry.ip and entry.ip_mode in {"", "VIP"}]
    return ServicePortInfo(
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        port_name=port.name,
        protocol=values.transport(port.protocol, "the protocol of a port"),
        cluster_ip=values.address(spec.cluster_ip, "spec.clusterIP", family),
        port=values.port(port.port, "a port"),
        node_port=values.port_or_none(port.node_port, "a nodePort") if has_node_ports else 0,
        external_ips=values.addresses(spec.external_ips, "one of spec.externalIPs", family),
        load_balancer_ips=values.addresses(given, "an address of status.loadBalancer", family),
        source_ranges=values.source_ranges(
            spec.load_balancer_source_ranges,
            "spec.loadBalancerSourceRanges",
            family,
        ),
        affinity_timeout=affinity_timeout(service),
        external_local=external_local,
        internal_local=spec.internal_traffic_policy == "Local",
        health_check_node_port=_health_check_node_port(service) if external_local else 0,
        endpoints=endpoints,
    )


def _health_check_node_port(service: Service) -> int:
    spec = service.spec
    return values.port_or_none(spec.health_check_node_port, "spec.healthCheckNodePort") if spec.type == "LoadBalancer" else 0


def affinity_timeout(service: Service) -> int:
    """Return for how many seconds a client stays with its endpoint, 0 without session affinity."""
    seconds = service.affinity_timeout
    if not 0 <= seconds <= LONGEST_AFFINITY:
        raise InvalidValueError(
            f"The timeout of session affinity is {values.shown(seconds)}, not 1 to {LONGEST_AFFINITY} seconds."
        )
    return seconds


def contains(source_ranges: Iterable[str], address: str) -> bool:
    """Tell whether an address is in one of the prefixes."""
    return any(ip_address(address) in ip_network(prefix) for prefix in source_ranges)
