"""When a terminating pod may stop serving (pure; semantics 1.9).

A pod that is deleted leaves the rules of every node in three steps, each by another process and
each in its own time:

    1. the endpoint-slices controller writes slices that no longer offer the pod
    2. the agent of each node, and the edge, read these slices and program their kernel
    3. they write in their Lease up to which resourceVersion of the slices the kernel is programmed

A server that stops before the last node has finished loses connections. Kubernetes leaves that gap
to a `sleep` in preStop; here the kubelet waits for all three steps. It does not conclude from its
own copies of the slices that a pod is offered nowhere: the pod may have left the slices a moment
ago (its label was removed, it failed its readiness probe) while nodes still send to it, or the
controller may be about to write slices from a time when the pod was ready. So:

1. The deletion has a resourceVersion. When the controller has written everything that follows from
   the Pods as of that version, no later slice offers the pod, whatever happens: a deletion is
   final. The newest slice of that moment has the version that every node must acknowledge. It
   includes what was written before the deletion.
2. That version is kept, so that later changes of the slices do not make the pod wait longer. The
   exception is a pod without which a Service has no ready endpoint: proxies send to terminating
   endpoints as a last resort (semantics 5.3), so the pod waits for the newest slices until there is
   another endpoint.
3. A load balancer whose policy is Local must not send to the pod's node any more, if that node has
   no other ready endpoint: it learns that by health checks (semantics 6.16), some time after the
   slices, and reports it in its Lease.

A Lease that does not follow (its agent has ended or is stopped) is waited for as well: the rules of
its node still lead to the pod. The Lease of a removed node does not count. The grace period is the
limit of all waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from netlab.api.coordination import Lease
from netlab.api.discovery import Endpoint, EndpointSlice
from netlab.api.numbers import whole_number
from netlab.api.pods import Pod
from netlab.api.resources import ENDPOINT_SLICES
from netlab.api.selection import has_labels
from netlab.api.services import Service

SlicesAfter = Callable[[int], int | None]  # resourceVersion of Pods -> of the slices that follow; None: not written yet


@dataclass(frozen=True)
class Sights:
    """What the kubelet's caches hold: `leases` are those of the nodes there are, and the edge's."""

    services: Collection[Service]
    slices: Collection[EndpointSlice]
    leases: Collection[Lease]


@dataclass
class Withdrawal:
    """How far the withdrawal of one terminating pod has come."""

    deleted: int = 0  # resourceVersion in which the pod was first seen terminating
    version: int | None = None  # of the slices that every node must acknowledge; None until it is final

    def is_complete(self, pod: Pod, slices_after: SlicesAfter, sights: Sights) -> bool:
        """Return whether no rule anywhere sends new connections to the pod, as far as the Leases of nodes and edge show."""
        self.deleted = self.deleted or whole_number(pod.metadata.resource_version)
        version = slices_after(self.deleted) if self.version is None else self.version
        if version is None:
            return False
        concerned = _concerned(pod, sights)
        if _is_replaced(pod, concerned):
            self.version = version
        return withdrawn(pod, version, sights, concerned)


def withdrawn(pod: Pod, version: int, sights: Sights, concerned: Sequence[EndpointSlice]) -> bool:
    """Return whether all Leases acknowledge a version of the slices, and no slice and no load balancer offers the pod."""
    if any(_is(e, pod) and not e.conditions.is_terminating for s in concerned for e in s.endpoints):
        return False
    if any(lease.synced(ENDPOINT_SLICES.plural) < version for lease in sights.leases):
        return False
    node = pod.spec.node_name
    mine = [service for service in sights.services if _selects(service, pod)]
    served = {s.service_key for s in concerned for e in s.endpoints if e.node_name == node and e.conditions.is_ready}
    alone = {s.key for s in mine if s.spec.external_traffic_policy == "Local" and s.key not in served}
    return not any(
        node in nodes for lease in sights.leases for key in alone for nodes in lease.healthy_nodes.get(key, {}).values()
    )


def _concerned(pod: Pod, sights: Sights) -> list[EndpointSlice]:
    """Return the slices of Services that select the pod, and those that contain it."""
    mine = {service.key for service in sights.services if _selects(service, pod)}
    return [s for s in sights.slices if s.service_key in mine or any(_is(e, pod) for e in s.endpoints)]


def _is_replaced(pod: Pod, concerned: Iterable[EndpointSlice]) -> bool:
    """Return whether every Service of the pod has another endpoint that is ready."""
    keys = {s.service_key for s in concerned}
    return keys == {s.service_key for s in concerned for e in s.endpoints if not _is(e, pod) and e.conditions.is_ready}


def _selects(service: Service, pod: Pod) -> bool:
    selector, same_namespace = service.spec.selector, service.metadata.namespace == pod.metadata.namespace
    return same_namespace and bool(selector) and has_labels(pod.metadata.labels, selector)


def _is(endpoint: Endpoint, pod: Pod) -> bool:
    return endpoint.target_ref is not None and endpoint.target_ref.uid == pod.metadata.uid
