"""EndpointSlices of Services with a selector (semantics 5): who is behind a Service, and in which condition.

A pod on its way out stays listed as terminating until it is gone, so that proxies may drain it. A Service without any
pod keeps one empty slice, as in Kubernetes. Slices whose Service is gone, or has become an ExternalName, are deleted.
"""

from __future__ import annotations

from collections import defaultdict

from netlab.api.discovery import Endpoint, EndpointConditions
from netlab.api.pods import Pod
from netlab.api.services import Service
from netlab.api.wellknown import HEADLESS_LABEL, SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL, ZONE_LABEL
from netlab.controlplane.controllers.ownership import owner_reference
from netlab.controlplane.controllers.selected_pods import (
    hostname,
    inherited_labels,
    is_ready,
    is_serving,
    pods_behind,
    resolve_ports,
    selecting_services,
    target_reference,
)
from netlab.controlplane.controllers.slices import Ports, SliceSet, plan_slices
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, delete

MANAGER = "endpointslice-controller.k8s.io"
RESERVED = frozenset({SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL, HEADLESS_LABEL})


def reconcile(world: World, _now: str) -> list[Write]:
    """Return the writes that bring the slices of all Services with a selector up to date."""
    writes = _leftovers(world)
    for service in selecting_services(world):
        common = slice_set(service)
        existing = world.slices_by_service.get(service.key, [])
        writes += plan_slices(common, wanted(world, service), existing, world.slice_names(common.namespace))
    return writes


def slice_set(service: Service) -> SliceSet:
    """Return what the slices of a Service have in common."""
    return SliceSet(
        namespace=service.metadata.namespace,
        service=service.metadata.name,
        managed_by=MANAGER,
        owner=owner_reference(service),
        labels=inherited_labels(service, RESERVED),
        annotations={},
        placeholder=True,
    )


def wanted(world: World, service: Service) -> dict[Ports, list[Endpoint]]:
    """Return the endpoints of a Service by the ports they have."""
    groups: defaultdict[Ports, list[Endpoint]] = defaultdict(list)
    for pod in pods_behind(world, service):
        groups[resolve_ports(service, pod)].append(endpoint(world, service, pod))
    return dict(groups)


def endpoint(world: World, service: Service, pod: Pod) -> Endpoint:
    """Return one pod as an endpoint of a Service (semantics 5.2, 5.11)."""
    node = world.nodes.get(pod.spec.node_name)
    return Endpoint(
        addresses=(pod.status.pod_ip,),
        conditions=EndpointConditions(
            ready=is_ready(world, service, pod), serving=is_serving(world, pod), terminating=pod.terminating
        ),
        hostname=hostname(service, pod),
        node_name=pod.spec.node_name,
        zone=node.metadata.labels.get(ZONE_LABEL, "") if node else "",
        target_ref=target_reference(pod),
    )


def _leftovers(world: World) -> list[Write]:
    """Delete slices made for a Service that is gone, was replaced by another of its name, or has no endpoints."""
    writes: list[Write] = []
    for key in sorted(world.endpoint_slices):
        piece = world.endpoint_slices[key]
        if piece.metadata.labels.get(SLICE_MANAGED_BY_LABEL) == MANAGER:
            service = world.services.get(piece.service_key)
            uids = {reference.uid for reference in piece.metadata.owner_references}
            if service is None or service.metadata.uid not in uids or service.spec.type == "ExternalName":
                writes.append(delete(piece))
    return writes
