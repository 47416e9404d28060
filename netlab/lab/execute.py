"""`netlab exec`: run a command in a node, a client, the edge or a pod."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netlab.api.pods import Pod
from netlab.api.resources import PODS
from netlab.dataplane.names import host_namespace
from netlab.errors import UsageError
from netlab.lab.access.choice import access_of
from netlab.lab.access.interface import HostAccess
from netlab.lab.find import connect
from netlab.lab.pods import is_alive, pods_meant
from netlab.lab.privilege import obtain
from netlab.state import StateDirectory
from netlab.topology.problem import printable


def execute(state: StateDirectory, target: str, command: Sequence[str], *, container: str = "") -> int:
    """Run a command inside a host or a pod with this terminal and return its exit code.

    A host is found from the record alone, so this works without the daemon. Raises UsageError for
    an unknown name.
    """
    if not command:
        raise UsageError(f"no command to run in {target}", remedy=f"Add it after two dashes: netlab exec {target} -- ip address")
    obtain(state, "exec")
    access = access_of(state)
    if host_namespace(state.lab, target) in state.recorded_namespaces():
        return access.run_on_host(target, command)
    return run_in_pod(access, find_pod(state, target), command, container)


def run_in_pod(access: HostAccess, pod: Pod, command: Sequence[str], container: str = "") -> int:
    """Run a command in a container of a pod, the first by default."""
    names = [c.name for c in pod.spec.containers]
    if container and container not in names:
        what = f"pod {pod.key} has no container {container!r}"
        raise UsageError(what, remedy=f"Containers: {', '.join(names)}.")
    return access.run_in_pod(pod, container or names[0], command)


@dataclass(frozen=True)
class Others:
    """What a name may mean besides a pod: the kind, singular and plural, and all names."""

    kind: str
    kinds: str
    names: Iterable[str]


def find_pod(state: StateDirectory, target: str, others: Others | None = None) -> Pod:
    """Return the pod for `[namespace/]name`, or for the beginning of the name if it is unambiguous.

    Replicas of one owner are not ambiguous. Raises UsageError, which lists the existing names;
    `others` defaults to the lab's hosts.
    """
    pods = PODS.readable(connect(state).list(PODS).items)
    meant = pods_meant(pods, target)
    if len(meant) == 1:
        return meant[0]
    others = others or Others("host", "Hosts", _hosts(state, pods))
    shown = ", ".join(sorted(pod.key for pod in (meant or filter(is_alive, pods)))[:12])
    name = f"'{printable(target)}'"
    absent = f"no {others.kind} or pod named {name} in lab {state.lab}"
    raise UsageError(
        f"{name} matches several pods" if meant else absent,
        remedy=f"{others.kinds}: {', '.join(others.names)}. Pods: {shown or 'none'}.",
    )


def _hosts(state: StateDirectory, pods: Sequence[Pod]) -> list[str]:
    names = sorted(name.removeprefix(f"{state.lab}-") for name in state.recorded_namespaces())
    return [name for name in names if not any(name.endswith(pod.metadata.name) for pod in pods)]
