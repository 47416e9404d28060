"""From a pod template to pods: their names, their hash, and which of them count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from netlab.api.meta import Condition, Labels, Object, ObjectMeta
from netlab.api.pods import Pod, PodTemplateSpec
from netlab.controlplane.controllers.naming import safe_digest
from netlab.controlplane.controllers.ownership import owner_reference

HASH_LENGTH = 10


def template_hash(template: PodTemplateSpec) -> str:
    """Return the hash that distinguishes templates: the value of label pod-template-hash."""
    encoded = msgspec.json.encode(template, order="sorted")
    return safe_digest(hashlib.sha256(encoded).hexdigest(), length=HASH_LENGTH)


def pod_from(template: PodTemplateSpec, owner: Object, name: str, *, labels: Labels | None = None, node_name: str = "") -> Pod:
    """Return a new pod made from its owner's template, bound to a node if one is given."""
    spec = msgspec.structs.replace(template.spec, node_name=node_name) if node_name else template.spec
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=owner.metadata.namespace,
            labels={**template.metadata.labels, **(labels or {})},
            annotations=template.metadata.annotations,
            owner_references=(owner_reference(owner),),
        ),
        spec=spec,
    )


def is_active(pod: Pod) -> bool:
    """Return whether a pod counts as a replica: neither finished nor terminating."""
    return not pod.finished and not pod.terminating


def is_available(pod: Pod) -> bool:
    """Return whether a replica serves (minReadySeconds has no effect here, so ready is available)."""
    return is_active(pod) and pod.ready


def ready_since(pod: Pod) -> str:
    """Return when the pod became ready, empty while it is not."""
    return next((c.last_transition_time or "" for c in pod.status.conditions if c.type == "Ready" and c.status == "True"), "")


def count_available(pods: Iterable[Pod]) -> int:
    """Return how many of the pods serve."""
    return sum(map(is_available, pods))


def with_condition(conditions: tuple[Condition, ...], new: Condition, now: str) -> tuple[Condition, ...]:
    """Return the conditions with one set. Its transition time moves only when its status does."""
    old = next((c for c in conditions if c.type == new.type), None)
    since = old.last_transition_time if old and old.status == new.status else now
    current = msgspec.structs.replace(new, last_transition_time=since)
    if old is None:
        return (*conditions, current)
    return tuple(current if c.type == new.type else c for c in conditions)
