"""When a terminating pod may stop serving (pure; semantics 1.9).

A pod's deletion makes it terminating in its EndpointSlices; every node's agent and the edge then take it out of their
rules, each in its own time. A server that stops before the last of them has followed loses connections. Kubernetes
leaves that gap to a `sleep` in preStop; here the kubelet waits for what it can see:

1. the slices no longer offer the pod, and every Lease says that its kernel holds those slices;
2. a load balancer whose policy is Local sends nobody to the pod's node any more, if that has no other ready endpoint:
   it learns that by health checks (semantics 6.16), some time after the slices, and says so in its Lease.

The grace period is the limit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from netlab.api.coordination import Lease
from netlab.api.discovery import Endpoint, EndpointSlice
from netlab.api.numbers import whole_number
from netlab.api.pods import Pod
from netlab.api.resources import ENDPOINT_SLICES
from netlab.api.selection import has_labels
from netlab.api.services import Service


def withdrawn(pod: Pod, services: Iterable[Service], slices: Iterable[EndpointSlice], leases: Collection[Lease]) -> bool:
    """Tell whether no rule anywhere sends new connections to the pod, as far as the Leases of nodes and edge can tell."""
    mine = {service.key: service for service in services if _selects(service, pod)}
    concerned = [s for s in slices if s.service_key in mine or any(_is(e, pod) for e in s.endpoints)]
    if any(_is(e, pod) and not e.conditions.is_terminating for s in concerned for e in s.endpoints):
        return False
    version = max((whole_number(s.metadata.resource_version) for s in concerned), default=0)
    if any(lease.synced(ENDPOINT_SLICES.plural) < version for lease in leases):
        return False
    node = pod.spec.node_name
    served = {s.service_key for s in concerned for e in s.endpoints if e.node_name == node and e.conditions.is_ready}
    alone = {key for key, service in mine.items() if service.spec.external_traffic_policy == "Local" and key not in served}
    return not any(node in nodes for lease in leases for key in alone for nodes in lease.healthy_nodes.get(key, {}).values())


def _selects(service: Service, pod: Pod) -> bool:
    selector, same_namespace = service.spec.selector, service.metadata.namespace == pod.metadata.namespace
    return same_namespace and bool(selector) and has_labels(pod.metadata.labels, selector)


def _is(endpoint: Endpoint, pod: Pod) -> bool:
    return endpoint.target_ref is not None and endpoint.target_ref.uid == pod.metadata.uid
