"""Endpoints of Services with a selector: the older view of what EndpointSlices contain.

Differences to slices: terminating pods are left out (unless publishNotReadyAddresses), those not ready are
in notReadyAddresses (semantics 5.4), and an object holds at most 1000 addresses (semantics 5.13).
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from netlab.api.discovery import EndpointPort
from netlab.api.meta import Labels, ObjectMeta
from netlab.api.pods import Pod
from netlab.api.resources import SERVICES
from netlab.api.services import EndpointAddress, Endpoints, EndpointsPort, EndpointSubset, Service
from netlab.api.wellknown import HEADLESS_LABEL
from netlab.controlplane.controllers.per_object import Failed, Step, collect, each
from netlab.controlplane.controllers.selected_pods import (
    each_selecting,
    hostname,
    inherited_labels,
    is_ready,
    pods_behind,
    resolve_ports,
    target_reference,
)
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, create, delete, update

CAPACITY = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"  # Kubernetes 1.33 and later
MANAGER = "endpoint-controller"
RESERVED = frozenset({HEADLESS_LABEL, MANAGED_BY_LABEL})

Ports = tuple[EndpointsPort, ...]


def reconcile(world: World, _now: str) -> list[Step]:
    """Return the writes that bring the Endpoints of all Services with a selector up to date."""
    present = (world.endpoints[key] for key in sorted(world.endpoints))
    leftovers = each(present, lambda obj: _leftover(world, obj))
    return leftovers + each_selecting(world, lambda service: reconcile_one(world, service))


def reconcile_one(world: World, service: Service) -> list[Step]:
    """Return the write for the Endpoints of one Service; a pod that cannot be an address is left out."""
    wanted, failures = endpoints_of(world, service)
    present = world.endpoints.get(service.key)
    if present is None:
        return [*failures, create(wanted)]
    return [*failures, *([] if _same(present, wanted) else [update(_onto(present, wanted))])]


def endpoints_of(world: World, service: Service) -> tuple[Endpoints, list[Failed]]:
    """Return the Endpoints that a Service should have, and the pods that failed."""
    found, failures = _subsets(world, service)
    subsets, truncated = _truncate(found)
    labels = {**inherited_labels(service, RESERVED), MANAGED_BY_LABEL: MANAGER}
    annotations = {OVER_CAPACITY: "truncated"} if truncated else {}
    meta = ObjectMeta(name=service.metadata.name, namespace=service.metadata.namespace, labels=labels, annotations=annotations)
    return Endpoints(metadata=meta, subsets=subsets), failures


def _subsets(world: World, service: Service) -> tuple[tuple[EndpointSubset, ...], list[Failed]]:
    """Return the pods grouped by equal ports; one that lacks every port of the Service is left out."""
    ready: defaultdict[Ports, list[EndpointAddress]] = defaultdict(list)
    not_ready: defaultdict[Ports, list[EndpointAddress]] = defaultdict(list)

    def add(pod: Pod) -> None:
        ports = tuple(sorted(map(_port, resolve_ports(service, pod)), key=lambda port: (port.name, port.port, port.protocol)))
        if pod.terminating and not service.spec.publish_not_ready_addresses:
            return
        if ports or not service.spec.ports:
            address = _address(service, pod)
            (ready if is_ready(world, service, pod) else not_ready)[ports].append(address)

    _, failures = collect(pods_behind(world, service), add)
    groups = sorted(ready.keys() | not_ready.keys(), key=msgspec.json.encode)
    subsets = tuple(
        EndpointSubset(addresses=_sorted(ready[ports]), not_ready_addresses=_sorted(not_ready[ports]), ports=ports)
        for ports in groups
    )
    return subsets, failures


def _port(port: EndpointPort) -> EndpointsPort:
    return EndpointsPort(name=port.name, port=port.port or 0, protocol=port.protocol, app_protocol=port.app_protocol)


def _address(service: Service, pod: Pod) -> EndpointAddress:
    return EndpointAddress(
        ip=pod.status.pod_ip,
        hostname=hostname(service, pod),
        node_name=pod.spec.node_name,
        target_ref=target_reference(pod),
    )


def _sorted(addresses: list[EndpointAddress]) -> tuple[EndpointAddress, ...]:
    return tuple(sorted(addresses, key=lambda a: (a.ip, a.target_ref.uid if a.target_ref else "")))


def _truncate(subsets: tuple[EndpointSubset, ...]) -> tuple[tuple[EndpointSubset, ...], bool]:
    """Cut to 1000 addresses, the ready ones kept first; return whether anything was cut."""
    total = sum(len(subset.addresses) + len(subset.not_ready_addresses) for subset in subsets)
    if total <= CAPACITY:
        return subsets, False
    room = CAPACITY
    ready: list[tuple[EndpointAddress, ...]] = []
    for subset in subsets:
        ready.append(subset.addresses[:room])
        room -= len(ready[-1])
    kept: list[EndpointSubset] = []
    for subset, addresses in zip(subsets, ready, strict=True):
        others = subset.not_ready_addresses[:room]
        room -= len(others)
        if addresses or others:
            kept.append(msgspec.structs.replace(subset, addresses=addresses, not_ready_addresses=others))
    return tuple(kept), True


def _same(present: Endpoints, wanted: Endpoints) -> bool:
    return (
        present.subsets == wanted.subsets
        and present.metadata.labels == wanted.metadata.labels
        and _own_annotations(present.metadata.annotations) == wanted.metadata.annotations
    )


def _own_annotations(annotations: Labels) -> Labels:
    return {name: value for name, value in annotations.items() if name == OVER_CAPACITY}


def _onto(present: Endpoints, wanted: Endpoints) -> Endpoints:
    """Return the present object with wanted content; annotations of others stay."""
    others = {name: value for name, value in present.metadata.annotations.items() if name != OVER_CAPACITY}
    annotations = {**others, **wanted.metadata.annotations}
    meta = msgspec.structs.replace(present.metadata, labels=wanted.metadata.labels, annotations=annotations)
    return msgspec.structs.replace(present, metadata=meta, subsets=wanted.subsets)


def _leftover(world: World, obj: Endpoints) -> list[Write]:
    """Delete Endpoints made here whose Service is gone or has become an ExternalName (semantics 5.14)."""
    if obj.metadata.labels.get(MANAGED_BY_LABEL) != MANAGER or world.is_unreadable(SERVICES, obj.key):
        return []
    service = world.services.get(obj.key)
    return [delete(obj)] if service is None or service.spec.type == "ExternalName" else []
