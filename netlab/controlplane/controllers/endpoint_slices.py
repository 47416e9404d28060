"""EndpointSlices of Services with a selector (semantics 5): the backends of a Service, and their conditions.

A terminating pod stays listed as such until it is gone, so that proxies may drain it. A Service without any
pod keeps one empty slice, as in Kubernetes. Slices whose Service is gone, or has become an ExternalName, are deleted.
"""

from __future__ import annotations

from collections import defaultdict

from netlab.api.discovery import Endpoint, EndpointConditions, EndpointSlice
from netlab.api.pods import Pod
from netlab.api.resources import SERVICES
from netlab.api.services import Service
from netlab.api.wellknown import HEADLESS_LABEL, SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL, ZONE_LABEL
from netlab.controlplane.controllers.ownership import owner_reference
from netlab.controlplane.controllers.per_object import Failed, Step, collect, each
from netlab.controlplane.controllers.selected_pods import (
    each_selecting,
    hostname,
    inherited_labels,
    is_ready,
    is_serving,
    pods_behind,
    resolve_ports,
    target_reference,
)
from netlab.controlplane.controllers.slices import Ports, SliceSet, plan_slices
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, delete

MANAGER = "endpointslice-controller.k8s.io"
RESERVED = frozenset({SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL, HEADLESS_LABEL})


def reconcile(world: World, _now: str) -> list[Step]:
    """Return the writes that bring the slices of all Services with a selector up to date."""
    slices = (world.endpoint_slices[key] for key in sorted(world.endpoint_slices))
    leftovers = each(slices, lambda piece: _leftover(world, piece))
    return leftovers + each_selecting(world, lambda service: reconcile_one(world, service))


def reconcile_one(world: World, service: Service) -> list[Step]:
    """Return the writes for the slices of one Service; a pod that cannot be an endpoint is left out."""
    common = slice_set(service)
    existing = world.slices_by_service.get(service.key, [])
    groups, failures = wanted(world, service)
    return [*failures, *plan_slices(common, groups, existing, world.slice_names(common.namespace))]


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


def wanted(world: World, service: Service) -> tuple[dict[Ports, list[Endpoint]], list[Failed]]:
    """Return the endpoints of a Service by the ports they have, and the pods that failed."""
    pods = pods_behind(world, service)
    made, failures = collect(pods, lambda pod: (resolve_ports(service, pod), endpoint(world, service, pod)))
    groups: defaultdict[Ports, list[Endpoint]] = defaultdict(list)
    for ports, found in made:
        groups[ports].append(found)
    return dict(groups), failures


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


def _leftover(world: World, piece: EndpointSlice) -> list[Write]:
    """Delete a slice made for a Service that is gone, was replaced by another of its name, or has no endpoints."""
    if piece.metadata.labels.get(SLICE_MANAGED_BY_LABEL) != MANAGER or world.is_unreadable(SERVICES, piece.service_key):
        return []
    service = world.services.get(piece.service_key)
    uids = {reference.uid for reference in piece.metadata.owner_references}
    stays = service is not None and service.metadata.uid in uids and service.spec.type != "ExternalName"
    return [] if stays else [delete(piece)]
