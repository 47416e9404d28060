"""Mirroring: hand-made Endpoints of a Service without selector become EndpointSlices (semantics 5.12).

Not mirrored: a Service that is missing or has a selector, label endpointslice.kubernetes.io/skip-mirror=true, the
annotation of leader election. At most 1000 addresses of a subset are; a slice here holds up to 1000.

Deleting a Service deletes its Endpoints (semantics 5.14), hand-made ones too. Kubernetes does that when it is notified of
the deletion; here it is state: the Endpoints get the Service as owner, and garbage collection does the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

from netlab.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from netlab.api.meta import OwnerReference
from netlab.api.resources import ENDPOINTS, SERVICES
from netlab.api.services import EndpointAddress, Endpoints, EndpointsPort, EndpointSubset, Service
from netlab.api.wellknown import (
    APPLIED,
    HEADLESS_LABEL,
    LAST_APPLIED,
    SERVICE_NAME_LABEL,
    SKIP_MIRROR_LABEL,
    SLICE_MANAGED_BY_LABEL,
)
from netlab.controlplane.controllers.ownership import owner_reference, with_references
from netlab.controlplane.controllers.per_object import Failed, Step, each
from netlab.controlplane.controllers.slices import Ports, SliceSet, identity, plan_slices
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, delete

MANAGER = "endpointslicemirroring-controller.k8s.io"
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
CAPACITY = 1000
OF_THE_FILE = frozenset({APPLIED, LAST_APPLIED})  # what `up` writes about an object of the file; `up` prunes what carries APPLIED
RESERVED = frozenset({SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL})


def reconcile(world: World, _now: str) -> list[Step]:
    """Return the writes that keep the mirrors of all hand-made Endpoints."""
    present = [world.endpoints[key] for key in sorted(world.endpoints)]
    steps = each(present, lambda obj: reconcile_one(world, obj))
    slices = (world.endpoint_slices[key] for key in sorted(world.endpoint_slices))
    failed = {step.object.metadata.uid for step in steps if isinstance(step, Failed)}  # theirs stay
    mirrored = failed | {obj.metadata.uid for obj in present if _service_to_mirror(world, obj)}
    return steps + each(slices, lambda piece: _leftover(world, piece, mirrored))


def reconcile_one(world: World, obj: Endpoints) -> list[Write]:
    """Return the writes for one Endpoints object."""
    service = world.services.get(obj.key)
    if service is None or not is_hand_made(obj, service):
        return []
    writes = _adopt(obj, service)
    if is_mirrored(obj):
        existing = world.slices_by_service.get(obj.key, [])
        in_use = world.slice_names(obj.metadata.namespace)
        writes += plan_slices(slice_set(obj, service), wanted(obj), existing, in_use)
    return writes


def _service_to_mirror(world: World, obj: Endpoints) -> bool:
    """Return whether Endpoints have mirrors; those of a Service that cannot be read keep what they have."""
    service = world.services.get(obj.key)
    if service is None:
        return world.is_unreadable(SERVICES, obj.key)
    return is_hand_made(obj, service) and is_mirrored(obj)


def is_hand_made(obj: Endpoints, service: Service) -> bool:
    """Return whether the user manages the Endpoints of a Service."""
    return not service.spec.selector and LEADER_ANNOTATION not in obj.metadata.annotations


def is_mirrored(obj: Endpoints) -> bool:
    """Return whether the user has not disabled mirroring."""
    return obj.metadata.labels.get(SKIP_MIRROR_LABEL) != "true"


def slice_set(obj: Endpoints, service: Service) -> SliceSet:
    """Return what the mirrors of an Endpoints object have in common."""
    meta = obj.metadata
    labels = {name: value for name, value in meta.labels.items() if name not in RESERVED}
    return SliceSet(
        namespace=meta.namespace,
        service=meta.name,
        managed_by=MANAGER,
        owner=owner_reference(obj),
        labels={**labels, HEADLESS_LABEL: ""} if service.headless else labels,
        annotations={name: value for name, value in meta.annotations.items() if name not in OF_THE_FILE},
        capacity=CAPACITY,
    )


def wanted(obj: Endpoints) -> dict[Ports, list[Endpoint]]:
    """Return the endpoints of an Endpoints object by ports; an address named twice with the same ports counts once."""
    groups: defaultdict[Ports, dict[object, Endpoint]] = defaultdict(dict)
    for subset in obj.subsets:
        ports = tuple(_port(port) for port in subset.ports)
        for endpoint in _endpoints(subset):
            groups[ports].setdefault(identity(endpoint), endpoint)
    return {ports: list(endpoints.values())[:CAPACITY] for ports, endpoints in groups.items()}


def _endpoints(subset: EndpointSubset) -> Iterator[Endpoint]:
    """Yield a subset's addresses, the ready ones first, IPv4 only."""
    for ready, addresses in ((True, subset.addresses), (False, subset.not_ready_addresses)):
        for address in addresses:
            if _is_ipv4(address.ip):
                yield _endpoint(address, ready=ready)


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _port(port: EndpointsPort) -> EndpointPort:
    return EndpointPort(name=port.name, port=port.port, protocol=port.protocol, app_protocol=port.app_protocol)


def _adopt(obj: Endpoints, service: Service) -> list[Write]:
    """Make the Service the owner, so that it takes its Endpoints along; an earlier owner of that name is removed."""
    owner = (SERVICES.kind, service.metadata.name)
    others = tuple(r for r in obj.metadata.owner_references if (r.kind, r.name) != owner)
    references: tuple[OwnerReference, ...] = (*others, owner_reference(service, controller=False))
    if set(_uids(references)) == set(_uids(obj.metadata.owner_references)):
        return []
    return [with_references(obj, references)]


def _uids(references: tuple[OwnerReference, ...]) -> list[str]:
    return [reference.uid for reference in references]


def _leftover(world: World, piece: EndpointSlice, mirrored: set[str]) -> list[Write]:
    """Delete a mirror of Endpoints that are gone or no longer mirrored."""
    mine = piece.metadata.labels.get(SLICE_MANAGED_BY_LABEL) == MANAGER
    if not mine or world.is_unreadable(ENDPOINTS, piece.service_key):
        return []
    owners = {reference.uid for reference in piece.metadata.owner_references}
    return [] if mirrored & owners else [delete(piece)]
