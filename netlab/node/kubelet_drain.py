"""When a terminating pod may stop serving (pure; semantics 1.9, design 9).

A pod's deletion makes it terminating in its EndpointSlices; every node's agent and the edge then take it out of their
rules, each in its own time. A server that stops before the last of them has followed loses connections. Kubernetes
leaves that gap to a `sleep` in preStop; here the kubelet waits for what it can see: the slices no longer offer the
pod, and every Lease says that its kernel holds those slices. The grace period is the limit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from netlab.api.core import Lease, Pod, Service
from netlab.api.discovery import Endpoint, EndpointSlice

SYNCED = "netlab/synced"
NODE_LEASES = "kube-node-lease/"
EDGE_LEASE = "kube-system/netlab-edge"


def withdrawn(pod: Pod, services: Iterable[Service], slices: Iterable[EndpointSlice], leases: Mapping[str, Lease]) -> bool:
    """Tell whether no rule anywhere sends new connections to the pod, as far as leases can tell."""
    names = {service.key for service in services if selects(service, pod)}
    concerned = [s for s in slices if s.service_key in names or any(_is(e, pod) for e in s.endpoints)]
    if any(_is(e, pod) and not e.conditions.is_terminating for s in concerned for e in s.endpoints):
        return False
    version = max((int(s.metadata.resource_version or 0) for s in concerned), default=0)
    return all(synced(lease) >= version for key, lease in leases.items() if key.startswith(NODE_LEASES) or key == EDGE_LEASE)


def selects(service: Service, pod: Pod) -> bool:
    """Tell whether a Service's selector matches a pod."""
    selector, labels = service.spec.selector, pod.metadata.labels
    same_namespace = service.metadata.namespace == pod.metadata.namespace
    return same_namespace and bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def synced(lease: Lease) -> int:
    """Return the resourceVersion of EndpointSlices that a Lease's holder has programmed; 0 when it does not say."""
    try:
        return int(json.loads(lease.metadata.annotations.get(SYNCED, "{}")).get("endpointslices", 0))
    except (ValueError, TypeError, AttributeError):
        return 0


def _is(endpoint: Endpoint, pod: Pod) -> bool:
    return endpoint.target_ref is not None and endpoint.target_ref.uid == pod.metadata.uid
