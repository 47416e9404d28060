"""Whether a pod has settled, in sentences for `up` (pure).

Settled: every container runs and its probe has given a verdict, good or bad; or the pod has succeeded or failed; or it
can go no further by itself (unschedulable, crash loop, a missing ConfigMap), which `up` prints as a note.
"""

from __future__ import annotations

from netlab.api.pods import Container, Pod
from netlab.node.kubelet.pods import FINAL_WAITING, PodWorker
from netlab.node.kubelet.status import NEW, completed
from netlab.node.pods.containers import ContainerRecord, Phase


def unsettled(pod: Pod, worker: PodWorker | None) -> str:
    """Return what a pod still waits for; "" when it is settled."""
    if pod.terminating:  # commands may use their whole grace period; `up` need not wait for that
        return f"Pod {pod.key} is terminating." if worker and worker.serves_on else ""
    if not pod.spec.node_name:
        return "" if _unschedulable(pod) else f"Pod {pod.key} is not assigned to a node yet."
    if pod.finished:
        return ""
    return _unsettled_on_node(pod, worker)


def _unsettled_on_node(pod: Pod, worker: PodWorker | None) -> str:
    if worker and not worker.stands and worker.is_refused:
        return ""
    if worker is None or not worker.stands:  # also one in a crash loop: in a new network it starts at once
        return f"Pod {pod.key} is waiting for its network{f': {worker.problem}' if worker and worker.problem else '.'}"
    if _stuck(worker):
        return ""
    if words := _initializing(pod, worker):
        return words
    starting = (_starting(pod, container, worker.records.get(container.name, NEW)) for container in pod.spec.containers)
    if words := next(filter(None, starting), ""):
        return words
    return f"Pod {pod.key}: its status is being written." if worker.status_pending else ""


def _initializing(pod: Pod, worker: PodWorker) -> str:
    """Return which init container has not completed: the containers behind it are not started before."""
    for done, container in enumerate(pod.spec.init_containers):
        record = worker.records.get(container.name, NEW)
        if not completed(record):
            progress = f"Init:{done}/{len(pod.spec.init_containers)}"
            doing = "runs" if record.phase is Phase.RUNNING else "is being started"
            return f"Pod {pod.key}: init container {container.name} {doing} ({progress})."
    return ""


def _starting(pod: Pod, container: Container, record: ContainerRecord) -> str:
    if record.phase is Phase.WAITING:
        return f"Pod {pod.key}: container {container.name} is being started{f': {record.message}' if record.message else '.'}"
    if record.phase is Phase.RUNNING and not record.readiness.settled:
        words = f" ({record.readiness.message})" if record.readiness.message else ""
        return f"Pod {pod.key}: container {container.name} is waiting for its readiness probe{words}."
    return ""


def note(pod: Pod, worker: PodWorker | None) -> str:
    """Return the problem of a settled pod; "" if there is none."""
    if pod.terminating:
        return ""
    if not pod.spec.node_name:
        message = _unschedulable(pod)
        return f"Pod {pod.key} cannot be scheduled: {message}" if message else ""
    if pod.status.phase == "Failed":
        return f"Pod {pod.key} has failed; `netlab logs {pod.key}` shows its output."
    words = _stuck(worker) or _not_ready(pod, worker)
    return f"Pod {pod.key}: {words}" if words else ""


def _not_ready(pod: Pod, worker: PodWorker | None) -> str:
    for container in pod.spec.containers:
        record = worker.records.get(container.name, NEW) if worker else NEW
        if record.phase is Phase.RUNNING and record.readiness.settled and not record.ready:
            return f"container {container.name} is not ready: {record.readiness.message or 'the probe failed'}."
    return ""


def _unschedulable(pod: Pod) -> str:
    condition = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    return condition.message if condition and condition.status == "False" and condition.reason == "Unschedulable" else ""


def _stuck(worker: PodWorker | None) -> str:
    """Return why a pod or a container cannot run by itself any more."""
    if worker and not worker.stands and worker.is_refused:
        return worker.problem
    for name, record in worker.records.items() if worker else ():
        if record.phase is Phase.WAITING and record.reason in FINAL_WAITING:
            end = f"; it exited with code {record.end.code}" if record.end else ""
            said = f" ({record.end.message})" if record.end and record.end.message else ""
            words = record.message.replace("\n", ". ").removesuffix(".")  # a sentence, and its remedy another
            return f"container {name}: {record.reason}: {words}{end}{said}."
    return ""
