"""The life of a container, as values: running, waiting, ended; restarts and back-off.

A container is one `ContainerRecord`; it turns events and times into a new record and has no effects.
Kubernetes' rules:
  - restartPolicy Always restarts every end, OnFailure an end with a code other than 0, Never none;
  - the first restart is immediate, the next wait 10 s, 20 s, 40 s ... 300 s (CrashLoopBackOff); ten minutes of
    running without an end forget the back-off, and so does a new sandbox: what ended with the old one had not crashed;
  - an image that cannot be pulled is tried again after 10 s, 20 s, 40 s ... 300 s (ErrImagePull, then ImagePullBackOff);
  - `lastState` keeps the end before the present run, `restartCount` counts runs after the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from netlab.api.pods import Container, ContainerStatus
from netlab.api.times import timestamp_of
from netlab.dataplane.names import digest
from netlab.node.pods.readiness import NOT_PROBED, Readiness

FIRST_BACK_OFF = 10.0
LONGEST_BACK_OFF = 300.0
RETRY_SECONDS = 5.0  # until something other than an image is tried again that was refused
CALM_RUN = 600.0  # a run this long forgets the back-off
SIGNALLED = 128


class Phase(Enum):
    """The phase of a container's life."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True)
class Termination:
    """One end of a run. Times are seconds since the epoch."""

    code: int
    started: float
    finished: float
    message: str = ""
    identity: str = ""  # containerID of the run; "" is one that we make up

    @property
    def reason(self) -> str:
        return "Completed" if self.code == 0 else "Error"


@dataclass(frozen=True)
class ContainerRecord:
    """The state of one container of one pod."""

    phase: Phase = Phase.WAITING
    reason: str = "ContainerCreating"  # of waiting
    message: str = ""
    identity: str = ""  # containerID of the present or last run; "" is one that we make up
    image: str = ""  # imageID of the same
    started: float = 0.0
    restarts: int = 0
    runs: int = 0
    back_off: float = 0.0
    failed_pulls: int = 0  # in a row
    due: float = 0.0  # when a waiting container is to be started
    end: Termination | None = None  # of the last run
    readiness: Readiness = NOT_PROBED

    @property
    def ready(self) -> bool:
        """It runs and its probe, if it has one, succeeded."""
        return self.phase is Phase.RUNNING and self.readiness.ready


def started(record: ContainerRecord, *, now: float, readiness: Readiness, identity: str = "", image: str = "") -> ContainerRecord:
    """Return the record of a container that has just begun to run."""
    return replace(
        record,
        phase=Phase.RUNNING,
        reason="",
        message="",
        identity=identity,
        image=image,
        started=now,
        runs=record.runs + 1,
        failed_pulls=0,
        restarts=record.restarts + (1 if record.runs else 0),
        readiness=readiness,
    )


def with_readiness(record: ContainerRecord, state: Readiness) -> ContainerRecord:
    """Return the record with the newest results of the probes."""
    return replace(record, readiness=state)


def due_now(record: ContainerRecord) -> ContainerRecord:
    """Return a waiting record that may be tried again at once."""
    return replace(record, due=0.0)


def afresh(record: ContainerRecord) -> ContainerRecord:
    """Return the record of a container that is in a new sandbox: its back-off is forgotten, and a waiting one starts at once."""
    if record.phase is not Phase.WAITING:
        return replace(record, back_off=0.0)
    return replace(record, back_off=0.0, due=0.0, reason="ContainerCreating", message="")


def waiting(record: ContainerRecord, reason: str, message: str, *, due: float) -> ContainerRecord:
    """Return the record of a container that cannot start, with Kubernetes' word for why."""
    return replace(record, phase=Phase.WAITING, reason=reason, message=message, due=due, readiness=NOT_PROBED)


def refused(
    record: ContainerRecord,
    container: Container,
    reason: str,
    message: str,
    *,
    now: float,
    retry_seconds: float = RETRY_SECONDS,
) -> ContainerRecord:
    """Return the record of a container that could not be started; an image is pulled again after a growing pause."""
    if reason != "ErrImagePull":
        return waiting(record, reason, message, due=now + retry_seconds)
    failed = record.failed_pulls + 1
    pause = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2.0**record.failed_pulls)
    if record.failed_pulls:
        reason, message = "ImagePullBackOff", f'Back-off pulling image "{container.image}": ErrImagePull: {message}'
    return replace(waiting(record, reason, message, due=now + pause), failed_pulls=failed)


def ended(
    record: ContainerRecord, *, code: int, now: float, policy: str, pod: str, name: str, message: str = ""
) -> ContainerRecord:
    """Return the record after a run has ended: done for good, or waiting for its next start."""
    end = Termination(code, record.started, now, message, record.identity)
    if not restarts(policy, code):
        return replace(record, phase=Phase.TERMINATED, reason="", message="", end=end, readiness=NOT_PROBED)
    calm = now - record.started >= CALM_RUN
    delay = 0.0 if calm else record.back_off
    following = min(LONGEST_BACK_OFF, max(FIRST_BACK_OFF, delay * 2))
    words = f"back-off {_duration(delay)} restarting failed container={name} pod={pod}" if delay else ""
    return replace(
        record,
        phase=Phase.WAITING,
        reason="CrashLoopBackOff" if delay else "ContainerCreating",
        message=words,
        end=end,
        back_off=following,
        due=now + delay,
        readiness=NOT_PROBED,
    )


def restarts(policy: str, code: int) -> bool:
    """Return whether a restartPolicy starts a container again that ended with `code`."""
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def status(container: Container, record: ContainerRecord, uid: str, *, init: bool = False) -> ContainerStatus:
    """Return the containerStatus of the API."""
    running = record.phase is Phase.RUNNING
    done = init and record.phase is Phase.TERMINATED and record.end is not None and record.end.code == 0
    return ContainerStatus(
        name=container.name,
        ready=done if init else record.ready,
        started=running,
        restart_count=record.restarts,
        image=container.image,
        image_id=record.image or container.image,
        container_id=(record.identity or container_id(uid, container.name, record.runs)) if record.runs else "",
        state=_state(container, record, uid),
        last_state=_last_state(container, record, uid),
    )


def container_id(uid: str, name: str, run: int) -> str:
    """Return an identity that is the same for the same run."""
    return f"netlab://{digest(uid, name, str(run), length=64)}"


def _state(container: Container, record: ContainerRecord, uid: str) -> dict[str, dict[str, str | int]]:
    if record.phase is Phase.RUNNING:
        return {"running": {"startedAt": timestamp_of(record.started)}}
    if record.phase is Phase.TERMINATED and record.end:
        return {"terminated": _terminated(container, record, record.end, uid)}
    detail: dict[str, str | int] = {"reason": record.reason}
    return {"waiting": {**detail, "message": record.message} if record.message else detail}


def _last_state(container: Container, record: ContainerRecord, uid: str) -> dict[str, dict[str, str | int]]:
    if record.end is None or record.phase is Phase.TERMINATED:
        return {}
    return {"terminated": _terminated(container, record, record.end, uid)}


def _terminated(container: Container, record: ContainerRecord, end: Termination, uid: str) -> dict[str, str | int]:
    run = record.runs - 1 if record.phase is Phase.RUNNING else record.runs
    detail: dict[str, str | int] = {
        "exitCode": end.code,
        "reason": end.reason,
        "startedAt": timestamp_of(end.started),
        "finishedAt": timestamp_of(end.finished),
        "containerID": end.identity or container_id(uid, container.name, run),
    }
    if end.code > SIGNALLED:
        detail["signal"] = end.code - SIGNALLED
    return {**detail, "message": end.message} if end.message else detail
