"""Deployment -> ReplicaSets: one per template, and the rolling update from the old ones to the new.

    name   <deployment>-<pod-template-hash>, the hash also as label and in the selector
    up     the new ReplicaSet grows as long as there are at most replicas + 25% pods (maxSurge, rounded up)
    down   the old ones shrink by what is available beyond `replicas`, pods that do not serve first

The Deployment and the ReplicaSet of its present template carry the same revision, one more than the older ReplicaSets'.
The ReplicaSet has the Deployment's other annotations, too, as on a cluster.
So an update never goes below `replicas` available pods (maxUnavailable 0), which is stricter than Kubernetes' default.
`spec.strategy` has no effect. Availability is counted from the pods themselves, not from a ReplicaSet's status.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import msgspec

from netlab.api.apps import Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec
from netlab.api.meta import Condition, LabelSelector, ObjectMeta
from netlab.api.numbers import LARGEST_64, whole_number
from netlab.api.wellknown import APPLIED, LAST_APPLIED, REVISION
from netlab.controlplane.controllers.ownership import claim, owner_reference
from netlab.controlplane.controllers.per_object import Step, each
from netlab.controlplane.controllers.templates import count_available, is_active, template_hash, with_condition
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Write, create, delete, event, patch, update_status

COMPONENT = "deployment-controller"
HASH_LABEL = "pod-template-hash"
SURGE = 0.25
OWN_ANNOTATIONS = frozenset({APPLIED, LAST_APPLIED, REVISION})  # of a Deployment: its ReplicaSets do not have them
KEPT_REVISIONS = 10  # Kubernetes' default revisionHistoryLimit


@dataclass(frozen=True)
class Rollout:
    """A Deployment with its ReplicaSets: the one of its present template (None: to be made) and the older ones."""

    deployment: Deployment
    hash: str
    new: ReplicaSet | None
    old: tuple[ReplicaSet, ...]  # oldest first
    available: dict[str, int]  # by ReplicaSet name
    replicas: dict[str, int]  # pods that there are, by ReplicaSet name

    @property
    def desired(self) -> int:
        return self.deployment.spec.replicas

    @property
    def all(self) -> tuple[ReplicaSet, ...]:
        return (*self.old, self.new) if self.new else self.old


def reconcile(world: World, now: str) -> list[Step]:
    """Return the writes that bring every Deployment's ReplicaSets and status to what it asks for."""
    deployments = (world.deployments[key] for key in sorted(world.deployments))
    return each(deployments, lambda deployment: reconcile_one(world, deployment, now))


def reconcile_one(world: World, deployment: Deployment, now: str) -> list[Write]:
    """Return the writes for one Deployment."""
    rollout, writes = observe(world, deployment)
    if deployment.metadata.deletion_timestamp is None:
        writes += _scale(rollout, now) + _forget(rollout)
    return writes + _status(rollout, now)


def observe(world: World, deployment: Deployment) -> tuple[Rollout, list[Write]]:
    """Return a Deployment's ReplicaSets, and the writes that adopt or release some."""
    candidates = world.replica_sets_by_namespace.get(deployment.metadata.namespace, [])
    mine, writes = claim(deployment, deployment.spec.selector, candidates)
    wanted = template_hash(deployment.spec.template)
    made = f"{deployment.metadata.name}-{wanted}"  # its name contains the same as its label, which a user may edit
    new = next((rs for rs in mine if rs.metadata.labels.get(HASH_LABEL) == wanted or rs.metadata.name == made), None)
    old = sorted((rs for rs in mine if rs is not new), key=lambda rs: (_revision(rs), rs.metadata.name))
    pods = {rs.metadata.name: world.pods_of(rs) for rs in mine}
    available = {name: count_available(owned) for name, owned in pods.items()}
    replicas = {name: sum(map(is_active, owned)) for name, owned in pods.items()}
    return Rollout(deployment, wanted, new, tuple(old), available, replicas), writes


def plan(rollout: Rollout) -> dict[str, int]:
    """Return how many replicas each ReplicaSet is to have, by name (the new one by its future name)."""
    desired = rollout.desired
    target = {rs.metadata.name: rs.spec.replicas for rs in rollout.old}
    new_name = _name(rollout)
    present = rollout.new.spec.replicas if rollout.new else 0
    total = sum(target.values()) + present
    room = max(desired + _surge(desired) - total, 0)
    target[new_name] = min(desired, present + room) if any(target.values()) else desired
    removable = total - desired - max(present - rollout.available.get(new_name, 0), 0)
    for name, count in _shrink(rollout, max(removable, 0)).items():
        target[name] -= count
    return target


def _surge(desired: int) -> int:
    return ceil(desired * SURGE)


def _shrink(rollout: Rollout, removable: int) -> dict[str, int]:
    """Return how many replicas each old ReplicaSet gives up: first those that do not serve, then spare ones."""
    shrink: dict[str, int] = {}
    for rs in rollout.old:
        name = rs.metadata.name
        useless = max(rs.spec.replicas - rollout.available[name], 0)
        shrink[name] = min(useless, removable)
        removable -= shrink[name]
    for rs in rollout.old:  # what is left to remove is, by now, exactly what is available beyond the desired number
        more = min(rs.spec.replicas - shrink[rs.metadata.name], removable)
        shrink[rs.metadata.name] += more
        removable -= more
    return shrink


def _scale(rollout: Rollout, now: str) -> list[Write]:
    target = plan(rollout)
    writes: list[Write] = []
    if rollout.new is None:
        made = _new_replica_set(rollout, target[_name(rollout)])
        writes += [create(made), _scaled(rollout, made.metadata.name, 0, made.spec.replicas, now)]
    elif changed := _changed_annotations(rollout, rollout.new):
        writes.append(patch(rollout.new, {"metadata": {"annotations": changed}}))
    newest = max(_next_revision(rollout), _revision(rollout.new) if rollout.new else 0)
    if rollout.deployment.metadata.annotations.get(REVISION) != str(newest):  # kubectl rollout undo replaces it
        writes.append(patch(rollout.deployment, {"metadata": {"annotations": {REVISION: str(newest)}}}))
    for rs in rollout.all:
        wanted = target[rs.metadata.name]
        if wanted != rs.spec.replicas:
            writes.append(patch(rs, {"spec": {"replicas": wanted}}))
            writes.append(_scaled(rollout, rs.metadata.name, rs.spec.replicas, wanted, now))
    return writes


def _scaled(rollout: Rollout, name: str, before: int, after: int, now: str) -> Write:
    direction = "up" if after > before else "down"
    message = f"Scaled {direction} replica set {name} from {before} to {after}"
    return event(rollout.deployment, now, reason="ScalingReplicaSet", message=message, component=COMPONENT, occurrence=now)


def _name(rollout: Rollout) -> str:
    return rollout.new.metadata.name if rollout.new else f"{rollout.deployment.metadata.name}-{rollout.hash}"


def _revision(rs: ReplicaSet) -> int:
    return whole_number(rs.metadata.annotations.get(REVISION), least=0, most=LARGEST_64 - 1)  # one more is a number, too


def _next_revision(rollout: Rollout) -> int:
    return 1 + max((_revision(rs) for rs in rollout.old), default=0)


def _changed_annotations(rollout: Rollout, rs: ReplicaSet) -> dict[str, str]:
    """Return the annotations that the ReplicaSet of the present template lacks.

    Its revision grows when a template of the past is the present one again.
    """
    wanted = _copied_annotations(rollout.deployment)
    if _revision(rs) < _next_revision(rollout):
        wanted[REVISION] = str(_next_revision(rollout))
    return {name: value for name, value in wanted.items() if rs.metadata.annotations.get(name) != value}


def _copied_annotations(deployment: Deployment) -> dict[str, str]:
    """Return what a ReplicaSet takes over: `kubectl rollout undo` gives it back, `history` shows the change cause."""
    return {name: value for name, value in deployment.metadata.annotations.items() if name not in OWN_ANNOTATIONS}


def _new_replica_set(rollout: Rollout, replicas: int) -> ReplicaSet:
    deployment = rollout.deployment
    template = deployment.spec.template
    labels = {**template.metadata.labels, HASH_LABEL: rollout.hash}
    meta = msgspec.structs.replace(template.metadata, labels=labels)
    selector = deployment.spec.selector
    return ReplicaSet(
        metadata=ObjectMeta(
            name=_name(rollout),
            namespace=deployment.metadata.namespace,
            labels=labels,
            annotations={**_copied_annotations(deployment), REVISION: str(_next_revision(rollout))},
            owner_references=(owner_reference(deployment),),
        ),
        spec=ReplicaSetSpec(
            replicas=replicas,
            selector=LabelSelector(
                match_labels={**selector.match_labels, HASH_LABEL: rollout.hash}, match_expressions=selector.match_expressions
            ),
            template=msgspec.structs.replace(template, metadata=meta),
        ),
    )


def _forget(rollout: Rollout) -> list[Write]:
    """Delete the oldest empty ReplicaSets beyond the history that is kept."""
    empty = [rs for rs in rollout.old if rs.spec.replicas == 0 and not rollout.replicas[rs.metadata.name]]
    surplus = len(rollout.old) - KEPT_REVISIONS
    return [delete(rs) for rs in empty[: max(surplus, 0)]]


def _status(rollout: Rollout, now: str) -> list[Write]:
    deployment = rollout.deployment
    replicas = sum(rollout.replicas.values())
    available = sum(rollout.available.values())
    updated = rollout.replicas.get(_name(rollout), 0)
    status = DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=replicas,
        updated_replicas=updated,
        ready_replicas=available,
        available_replicas=available,
        unavailable_replicas=max(rollout.desired - available, 0),
        collision_count=deployment.status.collision_count,
        conditions=_conditions(rollout, replicas, updated, available, now),
    )
    return [] if status == deployment.status else [update_status(msgspec.structs.replace(deployment, status=status))]


def _conditions(rollout: Rollout, replicas: int, updated: int, available: int, now: str) -> tuple[Condition, ...]:
    name = _name(rollout)
    enough = available >= rollout.desired
    complete = enough and updated == replicas == rollout.desired
    conditions = with_condition(
        rollout.deployment.status.conditions,
        Condition(
            type="Available",
            status="True" if enough else "False",
            reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            message=f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        ),
        now,
    )
    return with_condition(
        conditions,
        Condition(
            type="Progressing",
            status="True",
            reason="NewReplicaSetAvailable" if complete else "ReplicaSetUpdated",
            message=f'ReplicaSet "{name}" {"has successfully progressed" if complete else "is progressing"}.',
        ),
        now,
    )
