"""What a daemon that has just started reads about containers from a pod's status in the API (pure).

The status is the kubelet's memory: restart counts, start times and ends survive in the API server's store.
"""

from __future__ import annotations

from collections.abc import Mapping

from netlab.api.numbers import whole_number
from netlab.api.pods import Container, ContainerStatus, Pod
from netlab.api.times import seconds_of
from netlab.node.pods import readiness
from netlab.node.pods.containers import ContainerRecord, Phase, Termination
from netlab.node.pods.readiness import NOT_PROBED, Readiness

Detail = Mapping[str, str | int]


def restored(pod: Pod, container: Container) -> ContainerRecord | None:
    """Return the record of a container as its status shows it, None when it has never run."""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    status = next((s for s in statuses if s.name == container.name), None)
    if status is None or not status.container_id:
        return None
    end = _termination(status)
    if running := status.state.get("running"):
        return ContainerRecord(
            phase=Phase.RUNNING,
            reason="",
            started=seconds_of(running.get("startedAt", "")),
            restarts=status.restart_count,
            runs=status.restart_count + 1,
            end=end,
            identity=status.container_id,
            image=status.image_id,
            readiness=_readiness(container, status),
        )
    terminated = "terminated" in status.state
    return ContainerRecord(
        phase=Phase.TERMINATED if terminated else Phase.WAITING,
        reason="" if terminated else "ContainerCreating",
        restarts=status.restart_count,
        runs=status.restart_count + 1,
        end=end,
        identity=status.container_id,
        image=status.image_id,
    )


def _readiness(container: Container, status: ContainerStatus) -> Readiness:
    """A ready container stays ready until its probe fails: a new daemon takes no traffic away."""
    if container.readiness_probe is None:
        return readiness.NO_PROBE
    return Readiness(ready=True, settled=True) if status.ready else NOT_PROBED


def _termination(status: ContainerStatus) -> Termination | None:
    detail: Detail | None = status.state.get("terminated") or status.last_state.get("terminated")
    if not detail:
        return None
    started, finished = seconds_of(detail.get("startedAt", "")), seconds_of(detail.get("finishedAt", ""))
    code = whole_number(detail.get("exitCode"), least=-(2**31), most=2**31 - 1)
    return Termination(code, started, finished, str(detail.get("message", "")), str(detail.get("containerID", "")))
