"""A node's Ready condition (pure): it stands, its agent has reported, and the others know the way to it.

A node stands when its namespace is there and, of a container, what runs in it: that is known also while the engine is away.

Endpoints on a node count from the moment it is ready. Their slices reach the other nodes by one watch and the route to the
node by another; were the slices faster, a connection would be sent where no route leads yet. So a node becomes ready when
every agent and the edge say in their Leases that they hold it. Who has been silent for longer than a Lease lasts is not
waited for: an agent that cannot run must not keep nodes out. Once ready, a node stays so whatever the others do.
"""

from __future__ import annotations

from collections.abc import Mapping

from netlab.api.cluster import Node
from netlab.api.coordination import Lease
from netlab.api.meta import Condition
from netlab.api.numbers import whole_number
from netlab.api.resources import NODES
from netlab.api.times import seconds_of, timestamp_of
from netlab.api.wellknown import node_lease

READY = ("True", "KubeletReady", "kubelet is posting ready status")
NOT_THERE = ("False", "KubeletNotReady", "the node has no network namespace, or its container has ended")
NO_AGENT = ("False", "KubeletNotReady", "container runtime network not ready: the node's agent has not reported yet")
NO_WAY = ("False", "KubeletNotReady", "container runtime network not ready: other nodes have no route to the node yet")


def ready_condition(node: Node, stands: bool, leases: Mapping[str, Lease], now: float) -> tuple[Condition, ...] | None:
    """Return the node's conditions with Ready as it should be, None when they are right already; `leases` are all, by key."""
    present = next((c for c in node.status.conditions if c.type == "Ready"), None)
    was_ready = present is not None and present.status == "True"
    own = leases.get(node_lease(node.metadata.name))
    if not stands:
        status, reason, message = NOT_THERE
    elif own is None or not own.has_reported:
        status, reason, message = NO_AGENT
    else:
        status, reason, message = READY if was_ready or _is_known(node, leases, now) else NO_WAY
    if present and (present.status, present.reason, present.message) == (status, reason, message):
        return None
    moment = present.last_transition_time if present and present.status == status else timestamp_of(now)
    ready = Condition(type="Ready", status=status, reason=reason, message=message, last_transition_time=moment)
    return (*(c for c in node.status.conditions if c.type != "Ready"), ready)


def _is_known(node: Node, leases: Mapping[str, Lease], now: float) -> bool:
    """Tell whether all who have reported, and still do, hold the node as it is now."""
    version = whole_number(node.metadata.resource_version)
    return all(lease.synced(NODES.plural) >= version for lease in leases.values() if lease.has_reported and _lives(lease, now))


def _lives(lease: Lease, now: float) -> bool:
    return now - seconds_of(lease.spec.renew_time or 0) < lease.spec.lease_duration_seconds
