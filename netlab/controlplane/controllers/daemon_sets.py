"""DaemonSet -> one pod on every node that its nodeSelector admits, cordoned or not.

A pod's name comes from its node's, and the pod is bound to the node from the start. A changed template replaces one
pod at a time (maxUnavailable 1): the old one goes, and when it is gone the new one is made under the same name.
"""

from __future__ import annotations

import msgspec

from netlab.api.apps import DaemonSet, DaemonSetStatus
from netlab.api.cluster import Node
from netlab.api.pods import Pod
from netlab.controlplane.controllers.naming import generated_name
from netlab.controlplane.controllers.ownership import claim
from netlab.controlplane.controllers.per_object import Step, each
from netlab.controlplane.controllers.templates import is_active, is_available, pod_from, template_hash
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, create, delete, event, update_status

COMPONENT = "daemonset-controller"
HASH_LABEL = "controller-revision-hash"


def reconcile(world: World, now: str) -> list[Step]:
    """Return the writes that bring every DaemonSet's pods and status to what it asks for."""
    owners = (world.daemon_sets[key] for key in sorted(world.daemon_sets))
    return each(owners, lambda owner: reconcile_one(world, owner, now))


def reconcile_one(world: World, owner: DaemonSet, now: str) -> list[Write]:
    """Return the writes for one DaemonSet."""
    mine, writes = claim(owner, owner.spec.selector, world.claimable_pods(owner))
    wanted = world.nodes_of(owner)
    if owner.metadata.deletion_timestamp is None:
        writes += _create(owner, wanted, mine, world.pod_names(owner.metadata.namespace), now)
        writes += _delete(world, owner, wanted, mine)
    return writes + _status(world, owner, wanted, mine)


def _create(owner: DaemonSet, nodes: list[Node], mine: list[Pod], names: frozenset[str], now: str) -> list[Write]:
    occupied = {pod.spec.node_name for pod in mine}  # by a terminating pod, too: then wait until it is gone
    labels = {HASH_LABEL: template_hash(owner.spec.template)}
    writes: list[Write] = []
    for node in nodes:
        name = generated_name(owner.metadata.name, node.metadata.name)
        if node.metadata.name not in occupied and name not in names:
            writes.append(create(pod_from(owner.spec.template, owner, name, labels=labels, node_name=node.metadata.name)))
            message = f"Created pod: {name}"
            writes.append(event(owner, now, reason="SuccessfulCreate", message=message, component=COMPONENT, occurrence=now))
    return writes


def _delete(world: World, owner: DaemonSet, nodes: list[Node], mine: list[Pod]) -> list[Write]:
    """Delete pods on wrong nodes, finished ones, doubles, and one whose template is outdated."""
    wanted = {node.metadata.name for node in nodes}
    keep: dict[str, Pod] = {}
    going: list[Pod] = []
    for pod in sorted(mine, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name)):
        where = pod.spec.node_name
        if pod.terminating or (where not in world.nodes and where not in wanted):
            continue  # without its node, pod_garbage removes it
        if pod.finished or where not in wanted or where in keep:
            going.append(pod)
        else:
            keep[where] = pod
    return [delete(pod) for pod in [*going, *_outdated(owner, keep, len(wanted))]]


def _outdated(owner: DaemonSet, keep: dict[str, Pod], wanted: int) -> list[Pod]:
    current = template_hash(owner.spec.template)
    outdated = [keep[node] for node in sorted(keep) if keep[node].metadata.labels.get(HASH_LABEL) != current]
    broken = [pod for pod in outdated if not is_available(pod)]
    unavailable = wanted - sum(map(is_available, keep.values()))
    return broken or outdated[: max(1 - unavailable, 0)]


def _status(world: World, owner: DaemonSet, nodes: list[Node], mine: list[Pod]) -> list[Write]:
    current = template_hash(owner.spec.template)
    wanted = {node.metadata.name for node in nodes}
    active = {pod.spec.node_name: pod for pod in mine if is_active(pod)}
    placed = [pod for name, pod in active.items() if name in wanted]
    status = DaemonSetStatus(
        observed_generation=owner.metadata.generation,
        current_number_scheduled=len(placed),
        desired_number_scheduled=len(wanted),
        updated_number_scheduled=sum(pod.metadata.labels.get(HASH_LABEL) == current for pod in placed),
        number_misscheduled=sum(name not in wanted and name in world.nodes for name in active),
        number_ready=sum(pod.ready for pod in placed),
        number_available=sum(map(is_available, placed)),
        number_unavailable=len(wanted) - sum(map(is_available, placed)),
        conditions=owner.status.conditions,
    )
    return [] if status == owner.status else [update_status(msgspec.structs.replace(owner, status=status))]
