"""`netlab exec`: run a command in a node, a client, the edge or a pod."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netlab.api.pods import Pod
from netlab.api.resources import PODS
from netlab.dataplane.names import host_namespace, namespace_path, pod_namespace
from netlab.errors import UsageError
from netlab.lab import container_exec, containers, pod_containers
from netlab.lab.find import connect
from netlab.lab.pods import is_alive, pods_meant
from netlab.lab.privilege import obtain
from netlab.node.entering import execute as execute_inside
from netlab.node.entering import stored_environment
from netlab.node.podfiles import PodFiles
from netlab.runtime.docker_host_specs import container_name
from netlab.runtime.statedir import StateDirectory
from netlab.topology.problem import printable


def execute(state: StateDirectory, target: str, command: Sequence[str], *, container: str = "") -> int:
    """Run a command inside a host or a pod with this terminal and return its exit code.

    A host is found from the record alone, so this works when the daemon is dead. Raises UsageError for an unknown name.
    """
    if not command:
        raise UsageError(f"no command to run in {target}", remedy=f"Say it after two dashes: netlab exec {target} -- ip address")
    obtain(state, "exec")
    if host_namespace(state.lab, target) in state.recorded_namespaces():
        return _on_host(state, target, command)
    return _in_pod(state, find_pod(state, target), command, container)


def _in_pod(state: StateDirectory, pod: Pod, command: Sequence[str], container: str) -> int:
    """Run a command as a container's program runs: with its environment, and where it is a container of its own, in it."""
    names = [c.name for c in pod.spec.containers]
    if container and container not in names:
        raise UsageError(f"pod {pod.key} has no container {container!r}", remedy=f"It has: {', '.join(names)}.")
    if containers.is_docker(state):
        container_exec.execute(pod_containers.running(state.lab, pod, container or names[0]), command)
    files = PodFiles(state.pod(pod.metadata.uid))
    environment = {**_terminal(), **stored_environment(files, container or names[0])}
    return execute_inside(namespace_path(_network_of(state.lab, pod)), command, environment, files)


def _network_of(lab: str, pod: Pod) -> str:
    """Return the name of the network namespace that a pod's containers are in."""
    if pod.spec.host_network:
        return host_namespace(lab, pod.spec.node_name)
    return pod_namespace(lab, pod.metadata.namespace, pod.metadata.name)


def _on_host(state: StateDirectory, host: str, command: Sequence[str]) -> int:
    """Run a command on a host: as its root, with what that root may do."""
    if containers.is_docker(state):
        container_exec.execute(container_name(state.lab, host), command, user="0")
    folder = state.host(host)
    files = PodFiles(folder, of_host=True) if folder.is_dir() else None
    return execute_inside(namespace_path(host_namespace(state.lab, host)), command, dict(os.environ), files)


def _terminal() -> dict[str, str]:
    """Return what of the caller's environment a command in a pod needs: its terminal, and nothing of the machine."""
    return {name: os.environ[name] for name in ("TERM", "LANG", "PATH") if name in os.environ}


@dataclass(frozen=True)
class Others:
    """What a name might mean besides a pod: one and several of the kind in words, and the names there are."""

    kind: str
    kinds: str
    names: Iterable[str]


def find_pod(state: StateDirectory, target: str, others: Others | None = None) -> Pod:
    """Return the pod meant by `[namespace/]name`; the beginning of a name will do when one pod (or its twins) has it.

    Raises UsageError that lists what there is; `others` are the lab's hosts when not said.
    """
    pods = PODS.readable(connect(state).list(PODS).items)
    meant = pods_meant(pods, target)
    if len(meant) == 1:
        return meant[0]
    others = others or Others("host", "Hosts", _hosts(state, pods))
    shown = ", ".join(sorted(pod.key for pod in (meant or filter(is_alive, pods)))[:12])
    what = "means several pods" if meant else f"is no {others.kind} and no pod of this lab"
    raise UsageError(
        f"'{printable(target)}' {what}", remedy=f"{others.kinds}: {', '.join(others.names)}. Pods: {shown or 'none'}."
    )


def _hosts(state: StateDirectory, pods: Sequence[Pod]) -> list[str]:
    names = sorted(name.removeprefix(f"{state.lab}-") for name in state.recorded_namespaces())
    return [name for name in names if not any(name.endswith(pod.metadata.name) for pod in pods)]
