"""A node's Ready condition (pure): it is ready when its namespace stands and its agent has reported."""

from __future__ import annotations

from netlab.api.coordination import Lease
from netlab.api.core import Node
from netlab.api.meta import Condition
from netlab.api.times import timestamp_of

READY = ("True", "KubeletReady", "kubelet is posting ready status")
NO_NAMESPACE = ("False", "KubeletNotReady", "the node has no network namespace")
NO_AGENT = ("False", "KubeletNotReady", "container runtime network not ready: the node's agent has not reported yet")


def ready_condition(node: Node, stands: bool, lease: Lease | None, now: float) -> tuple[Condition, ...] | None:
    """Return the node's conditions with Ready as it should be, None when they are right already."""
    reported = lease is not None and lease.has_reported
    status, reason, message = NO_NAMESPACE if not stands else READY if reported else NO_AGENT
    present = next((c for c in node.status.conditions if c.type == "Ready"), None)
    if present and (present.status, present.reason, present.message) == (status, reason, message):
        return None
    moment = present.last_transition_time if present and present.status == status else timestamp_of(now)
    ready = Condition(type="Ready", status=status, reason=reason, message=message, last_transition_time=moment)
    return (*(c for c in node.status.conditions if c.type != "Ready"), ready)
