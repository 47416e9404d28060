"""LoadBalancer addresses: one from the lab's pool for each Service of that type (semantics 4.10, 4.11).

A Service keeps its address until it is deleted, changes its type, or requests another one by
spec.loadBalancerIP. Otherwise the lowest free address is taken. A Service with loadBalancerClass belongs to another
load balancer (semantics 4.10). What cannot be served stays `<pending>`, with an Event that contains the reason.
"""

from __future__ import annotations

import msgspec

from netlab.api.services import LoadBalancerIngress, LoadBalancerStatus, Service
from netlab.controlplane.controllers.per_object import Failed, Step, collect, each
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, event, update_status
from netlab.ipam import AddressPlan, Pool

COMPONENT = "netlab-load-balancer"
VIP = "VIP"


def reconcile(world: World, now: str) -> list[Step]:
    """Return the writes that give and take back LoadBalancer addresses."""
    if world.lab is None:
        return []
    services = [world.services[key] for key in sorted(world.services)]
    steps = each(services, lambda service: [_set(service, "")] if _is_released(service) else [])
    pool = Pool(tuple(AddressPlan.of(world.lab).load_balancer_addresses()))
    # Those that have an address keep it; then those that ask for a certain one; then the others.
    found, failures = collect(services, lambda service: (service, _is_open(pool, service)))
    open_ones = [service for service, is_open in found if is_open]
    ordered = sorted(open_ones, key=lambda service: not service.spec.load_balancer_ip)
    known = {step.key for step in steps if isinstance(step, Failed)}
    steps += [failed for failed in failures if failed.key not in known]
    return steps + each(ordered, lambda service: _allocate(pool, service, now))


def _is_open(pool: Pool, service: Service) -> bool:
    """Return whether a Service is to be given an address. One that has what it asks for is given that, and keeps it."""
    if not _is_mine(service):
        return False
    return not _has_what_it_asks(service) or bool(pool.take(_address(service), service.key))


def _is_mine(service: Service) -> bool:
    spec = service.spec
    return spec.type == "LoadBalancer" and not spec.load_balancer_class and service.metadata.deletion_timestamp is None


def _is_released(service: Service) -> bool:
    return service.spec.type != "LoadBalancer" and bool(service.status.load_balancer.ingress)


def _address(service: Service) -> str:
    ingress = service.status.load_balancer.ingress
    return ingress[0].ip if len(ingress) == 1 and ingress[0].ip_mode == VIP else ""


def _has_what_it_asks(service: Service) -> bool:
    return bool(_address(service)) and service.spec.load_balancer_ip in {"", _address(service)}


def _allocate(pool: Pool, service: Service, now: str) -> list[Write]:
    wanted = service.spec.load_balancer_ip
    if wanted:
        refusal, address = pool.take(wanted, service.key), wanted
    else:
        address = pool.take_any(service.key) or ""
        refusal = "" if address else "no available IPs"
    if refusal:
        if not pool.addresses:
            refusal = "the lab has no address pool (spec.loadBalancer.pool)"
        message = f'Failed to allocate IP for "{service.key}": {refusal}'
        failed = event(service, now, reason="AllocationFailed", message=message, component=COMPONENT, warning=True)
        return [*([_set(service, "")] if service.status.load_balancer.ingress else []), failed]
    message = f'Assigned IP ["{address}"]'
    return [
        _set(service, address),
        event(service, now, reason="IPAllocated", message=message, component=COMPONENT, occurrence=now),
    ]


def _set(service: Service, address: str) -> Write:
    ingress = (LoadBalancerIngress(ip=address, ip_mode=VIP),) if address else ()
    status = msgspec.structs.replace(service.status, load_balancer=LoadBalancerStatus(ingress=ingress))
    return update_status(msgspec.structs.replace(service, status=status))
