"""Which pod a user means by `[namespace/]name`, and where its network is. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netlab.api.pods import Pod
from netlab.dataplane.names import host_namespace, namespace_path, pod_namespace


def is_alive(pod: Pod) -> bool:
    """Return whether a pod may have processes or a network: it runs, or has a sandbox."""
    return pod.status.phase == "Running" or bool(pod.status.pod_ip)


def pods_meant(pods: Iterable[Pod], target: str) -> list[Pod]:
    """Return the live pods that `[namespace/]name` may mean: one pod if the name is unambiguous.

    Without a namespace all are searched. The beginning of a name is enough if one pod, or replicas
    of one owner, have it; then the first of them is returned. An empty list means that there is no
    such pod, several pods mean that the name is ambiguous.
    """
    namespace, _, name = target.rpartition("/")
    here = [pod for pod in pods if is_alive(pod) and (not namespace or pod.metadata.namespace == namespace)]
    exact = [pod for pod in here if pod.metadata.name == name]
    begins = [pod for pod in here if pod.metadata.name.startswith(f"{name}-")]
    if len(exact) == 1:
        return exact
    twins = len({(pod.metadata.namespace, _owner(pod)) for pod in begins}) == 1
    return begins[:1] if twins else exact + begins


def network_path(lab: str, pod: Pod) -> str:
    """Return the path of the network namespace that the sockets of a pod are in."""
    meta = pod.metadata
    if pod.spec.host_network:
        return namespace_path(host_namespace(lab, pod.spec.node_name))
    return namespace_path(pod_namespace(lab, meta.namespace, meta.name))


def _owner(pod: Pod) -> str:
    return next((owner.uid for owner in pod.metadata.owner_references), pod.metadata.uid)
