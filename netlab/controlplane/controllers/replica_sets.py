"""ReplicaSet -> pods: as many as requested.

Pods are adopted and released by labels. Missing ones are made under deterministic names; which of too many go first
is Kubernetes' order: unscheduled, pending, not ready, lowest pod-deletion-cost, doubled up on a node, then the newest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from netlab.api.apps import ReplicaSet, ReplicaSetStatus
from netlab.api.numbers import whole_number
from netlab.api.pods import Pod
from netlab.api.selection import has_labels
from netlab.api.wellknown import POD_DELETION_COST as DELETION_COST
from netlab.controlplane.controllers.naming import unused_name
from netlab.controlplane.controllers.ownership import claim
from netlab.controlplane.controllers.per_object import Step, each
from netlab.controlplane.controllers.templates import count_available, is_active, pod_from, ready_since
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, create, delete, event, update_status

COMPONENT = "replicaset-controller"
PHASES = {"": 0, "Pending": 0, "Unknown": 1, "Running": 2}  # the earlier, the sooner deleted
NAMED_IN_EVENT = 10  # pods named in one Event; a scale-up of a thousand is one message, not a thousand


def reconcile(world: World, now: str) -> list[Step]:
    """Return the writes that bring every ReplicaSet's pods and status to what it asks for."""
    owners = (world.replica_sets[key] for key in sorted(world.replica_sets))
    return each(owners, lambda owner: reconcile_one(world, owner, now))


def reconcile_one(world: World, owner: ReplicaSet, now: str) -> list[Write]:
    """Return the writes for one ReplicaSet."""
    mine, writes = claim(owner, owner.spec.selector, world.claimable_pods(owner))
    active = [pod for pod in mine if is_active(pod)]
    if owner.metadata.deletion_timestamp is None:
        missing = owner.spec.replicas - len(active)
        if missing > 0:
            writes += _create(owner, missing, world.pod_names(owner.metadata.namespace), now)
        elif missing < 0:
            writes += _delete(owner, sorted(active, key=deletion_order(active))[:-missing], now)
    return writes + _status(owner, active)


def _create(owner: ReplicaSet, count: int, taken: frozenset[str], now: str) -> list[Write]:
    in_use = set(taken)
    names: list[str] = []
    for _ in range(count):
        names.append(unused_name(owner.metadata.name, in_use))
        in_use.add(names[-1])
    return [
        *(create(pod_from(owner.spec.template, owner, name)) for name in names),
        event(owner, now, reason="SuccessfulCreate", message=f"Created {_pods(names)}", component=COMPONENT, occurrence=now),
    ]


def _delete(owner: ReplicaSet, pods: list[Pod], now: str) -> list[Write]:
    names = [pod.metadata.name for pod in pods]
    return [
        *(delete(pod) for pod in pods),
        event(owner, now, reason="SuccessfulDelete", message=f"Deleted {_pods(names)}", component=COMPONENT, occurrence=now),
    ]


def _pods(names: list[str]) -> str:
    """Return Kubernetes' words for one pod, and a list of names for several."""
    if len(names) == 1:
        return f"pod: {names[0]}"
    more = f", ... ({len(names)} in all)" if len(names) > NAMED_IN_EVENT else ""
    return f"pods: {', '.join(names[:NAMED_IN_EVENT])}{more}"


def deletion_order(active: list[Pod]) -> Callable[[Pod], tuple[object, ...]]:
    """Return the sort key that puts those of the active pods in front that go first."""
    on_node = Counter(pod.spec.node_name for pod in active if pod.spec.node_name)

    def key(pod: Pod) -> tuple[object, ...]:
        return (
            bool(pod.spec.node_name),
            PHASES.get(pod.status.phase, 1),
            pod.ready,
            _cost(pod),
            -on_node[pod.spec.node_name],
            _newest_first(ready_since(pod)),
            _newest_first(pod.metadata.creation_timestamp or ""),
            pod.metadata.name,
        )

    return key


def _cost(pod: Pod) -> int:
    return whole_number(pod.metadata.annotations.get(DELETION_COST), least=-(2**31), most=2**31 - 1)  # Kubernetes' range


def _newest_first(timestamp: str) -> tuple[int, ...]:
    return tuple(-ord(character) for character in timestamp)


def _status(owner: ReplicaSet, active: list[Pod]) -> list[Write]:
    labels = owner.spec.template.metadata.labels
    status = ReplicaSetStatus(
        observed_generation=owner.metadata.generation,
        replicas=len(active),
        fully_labeled_replicas=sum(has_labels(pod.metadata.labels, labels) for pod in active),
        ready_replicas=sum(pod.ready for pod in active),
        available_replicas=count_available(active),
        conditions=owner.status.conditions,
    )
    return [] if status == owner.status else [update_status(msgspec.structs.replace(owner, status=status))]
