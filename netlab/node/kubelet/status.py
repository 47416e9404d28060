"""From a pod's observed state to the status the API shows (pure): phase, conditions, container statuses.

A condition keeps its lastTransitionTime while its status stays the same. PodScheduled is the scheduler's and is passed
on as found. Reasons and messages are kubelet's own words, since people search for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from netlab.api.meta import Condition
from netlab.api.pods import Container, Pod, PodIP, PodStatus
from netlab.api.resources import Json
from netlab.api.times import timestamp_of
from netlab.node.pods import containers
from netlab.node.pods.containers import ContainerRecord, Phase

NEW = ContainerRecord()
NOT_INITIALIZED = ContainerRecord(reason="PodInitializing")


@dataclass(frozen=True)
class PodView:
    """What the kubelet has observed of one pod right now."""

    address: str = ""
    host_ip: str = ""
    sandbox_ready: bool = False
    node_lost: bool = False  # the state of its node is unknown
    started: float = 0.0
    records: Mapping[str, ContainerRecord] = field(default_factory=dict)


def pod_status(pod: Pod, view: PodView, now: float) -> PodStatus:
    """Return the status of a pod."""
    uid = pod.metadata.uid
    initialized = all_initialized(pod, view.records)
    fallback = NEW if initialized else NOT_INITIALIZED
    phase = phase_of(pod, view.records)
    return PodStatus(
        phase=phase,
        conditions=_conditions(pod, view, phase, now),
        host_ip=view.host_ip,
        pod_ip=view.address,
        pod_ips=(PodIP(ip=view.address),) if view.address else (),
        start_time=pod.status.start_time or timestamp_of(view.started),
        init_container_statuses=tuple(
            containers.status(c, view.records.get(c.name, NOT_INITIALIZED), uid, init=True) for c in pod.spec.init_containers
        ),
        container_statuses=tuple(containers.status(c, view.records.get(c.name, fallback), uid) for c in pod.spec.containers),
        qos_class="BestEffort",
    )


def status_body(status: PodStatus) -> Json:
    """Return a status as JSON; unlike elsewhere, `ready` and `restartCount` are shown when they are false and 0, too."""
    body: Json = msgspec.json.decode(msgspec.json.encode(status))
    for item in (*body.get("initContainerStatuses", ()), *body.get("containerStatuses", ())):
        item.setdefault("ready", False)
        item.setdefault("restartCount", 0)
        item.setdefault("lastState", {})
    return body


def all_initialized(pod: Pod, records: Mapping[str, ContainerRecord]) -> bool:
    """Return whether every init container has completed."""
    return all(completed(records.get(c.name, NEW)) for c in pod.spec.init_containers)


def completed(record: ContainerRecord) -> bool:
    """Return whether a container has ended for good, successfully."""
    return record.phase is Phase.TERMINATED and record.end is not None and record.end.code == 0


def failed(record: ContainerRecord) -> bool:
    """Return whether a container has ended for good, unsuccessfully."""
    return record.phase is Phase.TERMINATED and not completed(record)


def phase_of(pod: Pod, records: Mapping[str, ContainerRecord]) -> str:
    """Return Pending, Running, Succeeded or Failed."""
    initial = [records.get(c.name, NEW) for c in pod.spec.init_containers]
    if any(failed(record) for record in initial):
        return "Failed"
    main = [records.get(c.name, NEW) for c in pod.spec.containers]
    if not all_initialized(pod, records) or any(record.runs == 0 for record in main):
        return "Pending"
    if all(record.phase is Phase.TERMINATED for record in main):
        return "Failed" if any(failed(record) for record in main) else "Succeeded"
    return "Running"


def _conditions(pod: Pod, view: PodView, phase: str, now: float) -> tuple[Condition, ...]:
    present = {c.type: c for c in pod.status.conditions}
    fresh = [
        Condition(type="PodReadyToStartContainers", status=_word(view.sandbox_ready)),
        _initialized(pod, view, phase),
        _readiness("Ready", pod, view, phase),
        _readiness("ContainersReady", pod, view, phase),
        present.get("PodScheduled", Condition(type="PodScheduled", status="True")),
    ]
    return tuple(_stamped(condition, present.get(condition.type), now) for condition in fresh)


def _initialized(pod: Pod, view: PodView, phase: str) -> Condition:
    if all_initialized(pod, view.records):
        return Condition(type="Initialized", status="True", reason="PodCompleted" if phase == "Succeeded" else "")
    pending = [c for c in pod.spec.init_containers if not completed(view.records.get(c.name, NEW))]
    return Condition(
        type="Initialized",
        status="False",
        reason="ContainersNotInitialized",
        message=f"containers with incomplete status: [{_names(pending)}]",
    )


def _readiness(kind: str, pod: Pod, view: PodView, phase: str) -> Condition:
    if phase in {"Succeeded", "Failed"}:
        return Condition(type=kind, status="False", reason="PodCompleted" if phase == "Succeeded" else "PodFailed")
    unready = [c for c in pod.spec.containers if not view.records.get(c.name, NEW).ready]
    if not unready and all_initialized(pod, view.records):
        lost = view.node_lost and kind == "Ready"  # as the node lifecycle controller marks it: the containers' stays
        return Condition(type=kind, status=_word(not lost))
    message = f"containers with unready status: [{_names(unready)}]"
    return Condition(type=kind, status="False", reason="ContainersNotReady", message=message)


def _stamped(condition: Condition, present: Condition | None, now: float) -> Condition:
    same = present is not None and present.status == condition.status and present.last_transition_time
    moment = present.last_transition_time if present and same else timestamp_of(now)
    return Condition(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        message=condition.message,
        last_transition_time=moment,
        last_probe_time=condition.last_probe_time,
    )


def _names(items: Sequence[Container]) -> str:
    return " ".join(container.name for container in items)


def _word(value: bool) -> str:
    return "True" if value else "False"
