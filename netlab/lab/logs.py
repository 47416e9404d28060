"""`netlab logs`: the output of the lab's processes and the pods' containers."""

from __future__ import annotations

from netlab.api.pods import Pod
from netlab.errors import UsageError
from netlab.lab.access.choice import access_of
from netlab.lab.execute import Others, find_pod
from netlab.state import StateDirectory


def log_names(state: StateDirectory) -> tuple[str, ...]:
    """Return the names of the lab's own processes that have a log."""
    return access_of(state).process_logs()


def read_log(state: StateDirectory, target: str, *, container: str = "") -> str:
    """Return the log of a process or a container. Raises UsageError for an unknown name."""
    access = access_of(state)
    if (text := access.process_log(target)) is not None:
        return text
    pod = find_pod(state, target, Others("process", "Processes", access.process_logs()))
    return access.container_log(pod, container_meant(pod, container))


def container_meant(pod: Pod, container: str) -> str:
    """Return the requested container of a pod; the name is optional if there is only one."""
    names = [c.name for c in (*pod.spec.init_containers, *pod.spec.containers)]
    if container and container not in names:
        raise UsageError(f"pod {pod.key} has no container {container!r}", remedy=f"Containers: {', '.join(names)}.")
    if not container and len(pod.spec.containers) > 1:
        raise UsageError(f"pod {pod.key} has several containers: {', '.join(names)}", remedy="Choose one with -c.")
    return container or pod.spec.containers[0].name
