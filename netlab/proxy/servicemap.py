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
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from netlab.api.cluster import Node
from netlab.api.discovery import EndpointSlice
from netlab.api.services import Service, ServicePort
from netlab.api.wellknown import HEADLESS_LABEL, PROXY_NAME_LABEL, ZONE_LABEL
from netlab.proxy.claims import Claim, all_claims, settle
from netlab.proxy.endpoints import (
    EndpointInfo,
    NodeTopology,
    is_ipv4,
    merge_slices,
    usable_endpoints,
)
from netlab.proxy.serviceport import ServicePortInfo, ServicePortMap

__all__ = ["ServicePortInfo", "ServicePortMap", "ServiceTracker", "build", "contains", "is_proxied", "service_ports"]

PROTOCOLS = frozenset({"TCP", "UDP", "SCTP"})


def build(services: Iterable[Service], slices: Iterable[EndpointSlice], node: Node) -> ServicePortMap:
    """Return the map for one node, from all objects at once."""
    tracker = ServiceTracker(node)
    for service in services:
        tracker.set_service(service.key, service)
    for piece in slices:
        tracker.set_slice(piece.key, piece)
    return tracker.current()


class ServiceTracker:
    """Keeps the map of one node while objects come, change and go."""

    def __init__(self, node: Node) -> None:
        self._node = _topology(node)
        self._services: dict[str, Service] = {}
        self._slices: dict[str, dict[str, EndpointSlice]] = {}  # Service -> name of the slice -> slice
        self._owner: dict[str, str] = {}  # slice -> Service
        self._ports: dict[str, tuple[ServicePortInfo, ...]] = {}
        self._claims: dict[Claim, set[str]] = {}  # address and port -> Services that claim it
        self._contested: set[Claim] = set()
        self._stale: set[str] = set()

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
        if piece is not None:
            owner = piece.service_key
            self._owner[key] = owner
            self._slices.setdefault(owner, {})[key] = piece
            self._stale.add(owner)

    def set_node(self, node: Node) -> None:
        """Take note of this node's labels: a changed zone concerns every Service with hints."""
        topology = _topology(node)
        if topology != self._node:
            self._node = topology
            self._stale.update(self._services)

    def current(self) -> ServicePortMap:
        """Return the map as of now; ports of Services that did not change are the same objects as last time."""
        for key in self._stale:
            service = self._services.get(key)
            slices = self._slices.get(key, {})
            if not slices:
                self._slices.pop(key, None)
            ports = service_ports(service, [slices[name] for name in sorted(slices)], self._node) if service else ()
            if self._ports.get(key, ()) != ports:
                self._replace(key, ports)
        self._stale.clear()
        return settle(self._ports) if self._contested else dict(self._ports)

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
        and is_ipv4(spec.cluster_ip)  # neither None nor unset
        and PROXY_NAME_LABEL not in labels
        and HEADLESS_LABEL not in labels
    )


def service_ports(service: Service, slices: Iterable[EndpointSlice], node: NodeTopology) -> tuple[ServicePortInfo, ...]:
    """Return the ports of one Service with their endpoints, none when it is not to be proxied."""
    if not is_proxied(service):
        return ()
    endpoints = merge_slices(slices, node)
    ports: dict[tuple[str, int], ServicePortInfo] = {}
    for port in service.spec.ports:
        if port.protocol in PROTOCOLS:
            info = _port(service, port, endpoints.get((port.name, port.protocol), ()))
            usable = usable_endpoints(info.endpoints, node, uses_cluster=info.uses_cluster, uses_local=info.uses_local)
            ports.setdefault((info.protocol, info.port), replace(info, usable=usable))
    return tuple(ports.values())


def _port(service: Service, port: ServicePort, endpoints: tuple[EndpointInfo, ...]) -> ServicePortInfo:
    spec = service.spec
    has_node_ports = spec.type in {"NodePort", "LoadBalancer"}
    externally = has_node_ports or bool(spec.external_ips)
    external_local = externally and spec.external_traffic_policy == "Local"
    ingress = service.status.load_balancer.ingress
    return ServicePortInfo(
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        port_name=port.name,
        protocol=port.protocol.lower(),
        cluster_ip=spec.cluster_ip,
        port=port.port,
        node_port=port.node_port if has_node_ports else 0,
        external_ips=_addresses(spec.external_ips),
        load_balancer_ips=_addresses(i.ip for i in ingress if i.ip_mode in {"", "VIP"}),
        source_ranges=_ranges(spec.load_balancer_source_ranges),
        affinity_timeout=service.affinity_timeout,
        external_local=external_local,
        internal_local=spec.internal_traffic_policy == "Local",
        health_check_node_port=spec.health_check_node_port if spec.type == "LoadBalancer" and external_local else 0,
        endpoints=endpoints,
    )


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(t for t in texts if is_ipv4(t)))


def _ranges(texts: Iterable[str]) -> tuple[str, ...]:
    """Return source ranges without overlap, which an nft set would refuse. Kubernetes allows spaces around them."""
    networks = [network for text in texts if (network := _network(text.strip()))]
    collapsed = [str(n) for n in collapse_addresses(networks)]
    return () if collapsed == ["0.0.0.0/0"] else tuple(collapsed)


def _network(text: str) -> IPv4Network | None:
    """Return an IPv4 prefix, None for one of the other address family (or for what the API server let slip)."""
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def contains(source_ranges: Iterable[str], address: str) -> bool:
    """Tell whether an address is in one of the prefixes."""
    return any(IPv4Address(address) in IPv4Network(prefix) for prefix in source_ranges)
