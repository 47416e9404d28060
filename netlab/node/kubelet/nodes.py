"""A node's Ready condition (pure): its namespace is there, its agent reports, and the others have a route to it.

A node is up when its namespace exists and, of a container, what runs in it: that is known also while the engine is away.

Endpoints on a node count from the moment it is ready. Their slices reach the other nodes by one watch and the route to the
node by another; were the slices faster, a connection would be sent where no route leads yet. So a node becomes ready when
every agent and the edge report in their Leases that they hold it. An agent that has been silent for longer than a Lease lasts is
not waited for: one that cannot run must not keep nodes out. Once ready, a node stays so whatever the others do.

A node whose own agent is silent gets the status of a cluster, by the words and the time of Kubernetes' node lifecycle
controller: 40 seconds after the last renewal its Ready condition is Unknown. The kernel keeps forwarding, but no agent keeps
its rules, so its pods are not Ready and take no new connections. `Heartbeats` counts the time as that controller does: from
when the kubelet *saw* a Lease change, on a clock that no user can set. So a machine's clock that is set back or forward
makes no node silent; neither does a kubelet that has not looked for a while (it was stopped, or the daemon is a new one),
as no report could be seen in the meantime.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from netlab.api.cluster import Node
from netlab.api.coordination import Lease
from netlab.api.meta import Condition
from netlab.api.numbers import whole_number
from netlab.api.resources import NODES
from netlab.api.times import seconds_of, timestamp_of
from netlab.api.wellknown import EDGE_LEASE, node_lease

NODE_GRACE_SECONDS = 40.0  # seconds: node-monitor-grace-period, and how long netlab's Leases last
LONGEST_GAP_SECONDS = 20.0  # seconds between two looks of a kubelet that works; it looks every ten

READY = ("True", "KubeletReady", "kubelet is posting ready status")
NOT_THERE = ("False", "KubeletNotReady", "the node has no network namespace, or its container has ended")
NO_AGENT = ("False", "KubeletNotReady", "container runtime network not ready: the node's agent has not reported yet")
NO_WAY = ("False", "KubeletNotReady", "container runtime network not ready: other nodes have no route to the node yet")
SILENT = ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")


class Heartbeats:
    """When each Lease was last seen to change, in seconds of a clock that does not go back."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str | None, float]] = {}
        self._last_look: float | None = None

    def observe(self, leases: Mapping[str, Lease], now: float) -> None:
        """Store the Leases as they are now, by key."""
        gap = 0.0 if self._last_look is None else now - self._last_look
        unseen = gap if gap > LONGEST_GAP_SECONDS else 0.0
        before = {key: (renewed, at + unseen) for key, (renewed, at) in self._seen.items()}
        fresh = {key: (lease.spec.renew_time, now) for key, lease in leases.items()}
        self._seen = {key: before[key] if key in before and before[key][0] == fresh[key][0] else fresh[key] for key in fresh}
        self._last_look = now

    def silent(self) -> frozenset[str]:
        """Return the keys of the Leases whose holders have not renewed them for longer than a Lease lasts."""
        now = self._last_look or 0.0
        return frozenset(key for key, (_, at) in self._seen.items() if now - at >= NODE_GRACE_SECONDS)


def held_by_members(leases: Mapping[str, Lease], nodes: Iterable[str]) -> dict[str, Lease]:
    """Return the Leases of these nodes and of the edge, by key: that of a node that has left is ignored."""
    known = {EDGE_LEASE, *map(node_lease, nodes)}
    return {key: lease for key, lease in leases.items() if key in known}


def ready_condition(
    node: Node, stands: bool, leases: Mapping[str, Lease], silent: Collection[str], now: float
) -> tuple[Condition, ...] | None:
    """Return the node's conditions with Ready as it should be, None when they are right already.

    `leases` are all, by key; `silent` are the keys of those that their holders do not renew any more.
    """
    present = next((c for c in node.status.conditions if c.type == "Ready"), None)
    was_ready = present is not None and present.status == "True"
    own = leases.get(node_lease(node.metadata.name))
    if not stands:
        status, reason, message = NOT_THERE
    elif own is None or not own.has_reported:
        status, reason, message = NO_AGENT
    elif node_lease(node.metadata.name) in silent:
        status, reason, message = SILENT
    else:
        status, reason, message = READY if was_ready or _is_known(node, leases, silent, now) else NO_WAY
    if present and (present.status, present.reason, present.message) == (status, reason, message):
        return None
    moment = present.last_transition_time if present and present.status == status else timestamp_of(now)
    ready = Condition(type="Ready", status=status, reason=reason, message=message, last_transition_time=moment)
    return (*(c for c in node.status.conditions if c.type != "Ready"), ready)


def _is_known(node: Node, leases: Mapping[str, Lease], silent: Collection[str], now: float) -> bool:
    """Return whether all processes that still report hold the node as it is now."""
    version = whole_number(node.metadata.resource_version)
    reporting = (lease for key, lease in leases.items() if lease.has_reported and key not in silent and _lives(lease, now))
    return all(lease.synced(NODES.plural) >= version for lease in reporting)


def _lives(lease: Lease, now: float) -> bool:
    """Return whether a Lease is valid by its own words: also a kubelet that has just begun need not wait for one that is not."""
    return now - seconds_of(lease.spec.renew_time or 0) < lease.spec.lease_duration_seconds


def has_lost_pods(node: Node | None) -> bool:
    """Return whether a node that was up is not any more, so that the state of its pods is unknown: they are not Ready."""
    ready = next((c for c in node.status.conditions if c.type == "Ready"), None) if node else None
    return ready is not None and (ready.status, ready.reason, ready.message) in {SILENT, NOT_THERE}
