"""What a Service asks for and does not get, one sentence each, for `netlab status` and the connectivity test.

    address claimed twice   an externalIP with port and protocol leads to one Service (`claims`); the others go without
    pending                 a LoadBalancer without address: another balancer's class, no pool, an address that is taken
    named port              a targetPort that no selected pod has: the port has no endpoint (semantics 4.8)

None of it is a fault of the lab, and a check of it would fail: what is not served is not tested. What can be known from
files alone, `netlab validate` says as a note (`netlab.topology.rules.notes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from netlab.api.discovery import EndpointSlice
from netlab.api.lab import Lab
from netlab.api.services import Service
from netlab.containment import Contained
from netlab.family import Family
from netlab.ipam import AddressPlan, Pool
from netlab.proxy.claims import settle
from netlab.proxy.endpoints import NodeTopology
from netlab.proxy.servicemap import service_ports
from netlab.proxy.serviceport import ServicePortInfo

NO_NODE = NodeTopology("", "")


@dataclass(frozen=True)
class Claimed:
    """An external address with the port and protocol at which a Service asks to be served."""

    service: str  # namespace/name
    address: str
    protocol: str  # as in a Service: TCP
    port: int


def remarks(lab: Lab, services: Sequence[Service], slices: Iterable[EndpointSlice]) -> tuple[str, ...]:
    """Return what Services ask for and do not get, and why."""
    ordered = sorted(services, key=lambda service: service.key)
    return (*_claimed_twice(ordered), *_pending(lab, ordered), *_unnamed_ports(ordered, slices))


def lost_claims(services: Iterable[Service], family: Family) -> dict[Claimed, str]:
    """Return the external addresses that Services ask for and do not have, with the Service that has each."""
    asked: dict[str, tuple[ServicePortInfo, ...]] = {}
    for service in services:
        with Contained():  # one that cannot be read asks for nothing
            if ports := service_ports(service, (), NO_NODE, family):
                asked[service.key] = ports
    owners: dict[tuple[str, str, int], str] = {}
    for key, ports in settle(asked).items():
        for port in ports:
            for address in (port.cluster_ip, *_external(port)):
                owners[address, port.protocol, port.port] = key
    lost = {}
    for key, ports in asked.items():
        for port in ports:
            for address in _external(port):
                owner = owners.get((address, port.protocol, port.port), key)
                if owner != key:
                    lost[Claimed(key, address, port.protocol.upper(), port.port)] = owner
    return lost


def _external(port: ServicePortInfo) -> tuple[str, ...]:
    return (*port.load_balancer_ips, *port.external_ips)


def _claimed_twice(services: Sequence[Service]) -> Iterator[str]:
    for claim, owner in lost_claims(services, Family.IPV4).items():
        where = f"{claim.address} port {claim.port}/{claim.protocol}"
        yield f"Service {claim.service} is not served at {where}: Service {owner} has that address and port"


def _pending(lab: Lab, services: Sequence[Service]) -> Iterator[str]:
    waiting = [s for s in services if s.spec.type == "LoadBalancer" and not s.status.load_balancer.ingress]
    if not waiting:
        return
    pool = Pool(tuple(AddressPlan.of(lab).load_balancer_addresses()))
    for service in services:
        for ingress in service.status.load_balancer.ingress:
            pool.take(ingress.ip, service.key)
    for service in waiting:
        if why := _why_pending(service, pool):
            yield f"Service {service.key}: the external address stays <pending>: {why}"


def _why_pending(service: Service, pool: Pool) -> str:
    """Return why a Service gets no address; empty when one is free, so that it will come."""
    if name := service.spec.load_balancer_class:
        return f'loadBalancerClass "{name}" belongs to another load balancer than the lab\'s'
    if not pool.addresses:
        return "the Lab has no spec.loadBalancer"
    if wanted := service.spec.load_balancer_ip:
        return pool.take(wanted, service.key)
    return "" if pool.take_any(service.key) else f"all {len(pool.addresses)} addresses of spec.loadBalancer.pool are in use"


def _unnamed_ports(services: Sequence[Service], slices: Iterable[EndpointSlice]) -> Iterator[str]:
    named = {s.key: s for s in services if any(isinstance(port.target_port, str) for port in s.spec.ports)}
    served: dict[str, set[tuple[str, str]]] = {}  # of Services with endpoints: the ports that some endpoint has
    for piece in slices:
        if piece.service_key in named and piece.endpoints:
            served.setdefault(piece.service_key, set()).update((port.name, port.protocol) for port in piece.ports)
    for key, ports in sorted(served.items()):
        for port in named[key].spec.ports:
            if not isinstance(port.target_port, str) or (port.name, port.protocol) in ports:
                continue
            words = f'no selected pod has a {port.protocol} port named "{port.target_port}"'
            yield f"Service {key} port {port.port}/{port.protocol} has no endpoint: {words}"
