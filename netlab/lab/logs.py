"""What the lab's processes and the pods' containers wrote."""

from __future__ import annotations

from netlab.api.pods import Pod
from netlab.daemon.host_processes import agent_name
from netlab.errors import UsageError
from netlab.lab import containers, pod_containers
from netlab.lab.execute import Others, find_pod
from netlab.node.podfiles import PodFiles
from netlab.runtime import log_files
from netlab.runtime.statedir import StateDirectory


def log_names(state: StateDirectory) -> tuple[str, ...]:
    """Return the names of the lab's own processes that have a log."""
    own = [path.stem for path in (state.root / "logs").glob("*.log")]
    agents = map(agent_name, containers.hosts_with_agent(state.lab)) if containers.is_docker(state) else ()
    return tuple(sorted((*own, *agents)))


def read_log(state: StateDirectory, target: str, *, container: str = "") -> str:
    """Return a process's or a container's log. Raises UsageError when there is nothing of that name."""
    if (text := log_files.read_log(state.log(target))) is not None:
        return text
    if containers.is_docker(state):
        for host, container_id in containers.hosts_with_agent(state.lab).items():
            if agent_name(host) == target:
                return containers.log(container_id)
    pod = find_pod(state, target, Others("process", "Processes", log_names(state)))
    name = _container_meant(pod, container)
    if containers.is_docker(state):
        return pod_containers.output(state.lab, pod, name)
    text = log_files.read_log(PodFiles(state.pod(pod.metadata.uid)).log(name))
    if text is None:
        raise UsageError(f"container {name!r} of pod {pod.key} has not written anything yet")
    return text


def _container_meant(pod: Pod, container: str) -> str:
    names = [c.name for c in (*pod.spec.init_containers, *pod.spec.containers)]
    if container and container not in names:
        raise UsageError(f"pod {pod.key} has no container {container!r}", remedy=f"It has: {', '.join(names)}.")
    if not container and len(pod.spec.containers) > 1:
        raise UsageError(f"pod {pod.key} has several containers: {', '.join(names)}", remedy="Choose one with -c.")
    return container or pod.spec.containers[0].name
