"""From a Service with a selector to the pods behind it: shared by Endpoints and EndpointSlices.

Rules (semantics 5.1, 5.2, 4.7, 4.8):
1. Pods of the same namespace that match the selector, have an address, and are neither Succeeded nor Failed.
2. A number as targetPort is itself, none is the port, a name is looked up in each pod by itself, with the protocol.
3. ready = Ready and not terminating, or always with publishNotReadyAddresses.
4. A pod on a node that is not ready is not ready either, as Kubernetes' node lifecycle controller has it: on a node that has
   just joined a pod may run before the other nodes have a route to it.
"""

from __future__ import annotations

from collections.abc import Callable

from netlab.api.discovery import EndpointPort
from netlab.api.meta import Labels, ObjectReference
from netlab.api.pods import Pod
from netlab.api.resources import PODS
from netlab.api.services import Service, ServicePort
from netlab.api.wellknown import HEADLESS_LABEL
from netlab.controlplane.controllers.per_object import Step, each
from netlab.controlplane.controllers.world import World


def each_selecting(world: World, plan: Callable[[Service], list[Step]]) -> list[Step]:
    """Return the steps for the Services whose endpoints come from their selector, by name."""
    services = (world.services[key] for key in sorted(world.services))
    return each(services, lambda service: plan(service) if is_selecting(service) else [])


def is_selecting(service: Service) -> bool:
    """Return whether a Service's endpoints come from its selector; ExternalName has none (semantics 4.13)."""
    spec = service.spec
    return bool(spec.selector) and spec.type != "ExternalName" and service.metadata.deletion_timestamp is None


def pods_behind(world: World, service: Service) -> list[Pod]:
    """Return the pods that a Service selects, terminating ones included."""
    pods = world.select_pods(service.metadata.namespace, service.spec.selector)
    return [pod for pod in pods if pod.status.pod_ip and not pod.finished]


def is_serving(world: World, pod: Pod) -> bool:
    """Return whether a pod could answer: it is Ready, and so is its node."""
    return pod.ready and pod.spec.node_name not in world.unready_nodes


def is_ready(world: World, service: Service, pod: Pod) -> bool:
    """Return whether a pod may get new connections of this Service."""
    return service.spec.publish_not_ready_addresses or (is_serving(world, pod) and not pod.terminating)


def resolve_ports(service: Service, pod: Pod) -> tuple[EndpointPort, ...]:
    """Return the Service's ports as this pod has them; those it lacks are left out."""
    resolved = ((port, target_port(port, pod)) for port in service.spec.ports)
    return tuple(
        EndpointPort(name=port.name, port=number, protocol=port.protocol, app_protocol=port.app_protocol)
        for port, number in resolved
        if number is not None
    )


def target_port(port: ServicePort, pod: Pod) -> int | None:
    """Return the number of the pod's port that a Service's port leads to, None when the pod has no such port."""
    target = port.target_port
    if isinstance(target, int):
        return target or port.port
    if not target:
        return port.port
    declared = (p for container in pod.spec.containers for p in container.ports)
    return next((p.container_port for p in declared if p.name == target and p.protocol == port.protocol), None)


def target_reference(pod: Pod) -> ObjectReference:
    """Return how an endpoint points at its pod."""
    meta = pod.metadata
    return ObjectReference(kind=PODS.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid)


def hostname(service: Service, pod: Pod) -> str:
    """Return the pod's DNS name below the Service: only if it asked for one in this very Service (semantics 5.11)."""
    return pod.spec.hostname if pod.spec.subdomain == service.metadata.name else ""


def inherited_labels(service: Service, reserved: frozenset[str]) -> Labels:
    """Return the Service's labels as its Endpoints and slices carry them, with Kubernetes' mark for a headless one."""
    labels = {name: value for name, value in service.metadata.labels.items() if name not in reserved}
    return {**labels, HEADLESS_LABEL: ""} if service.headless else labels
