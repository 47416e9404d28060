"""What a pod's securityContext means for its containers, as kubelet and containerd read it (pure).

The container's word counts before the pod's, and both before the image's.
"""

from __future__ import annotations

from dataclasses import replace

from netlab.api.capabilities import DEFAULT
from netlab.api.pods import PodSecurityContext, SecurityContext
from netlab.node.capabilities import changed
from netlab.node.pod_runtime import Run
from netlab.node.podfiles import ConfigError
from netlab.runtime.docker import ContainerSpec

ROOT = "0"


def secured(spec: ContainerSpec, run: Run, image_user: str) -> ContainerSpec:
    """Return a container as its securityContext wants it; `image_user` is who the image runs as.

    Raises ConfigError when it must not run as root, and would or might.
    """
    own, pods = run.container.security_context or SecurityContext(), run.pod.spec.security_context or PodSecurityContext()
    otherwise = spec.user or image_user
    number = own.run_as_user if own.run_as_user is not None else pods.run_as_user
    group = own.run_as_group if own.run_as_group is not None else pods.run_as_group
    demanded = own.run_as_non_root if own.run_as_non_root is not None else pods.run_as_non_root
    if demanded and (why := _perhaps_root(number, otherwise)):
        meta = run.pod.metadata
        who = f'pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {run.container.name}'
        raise ConfigError(f"{why} ({who}); say with runAsUser who it is to run as")
    had = DEFAULT if spec.capabilities is None else spec.capabilities
    return replace(
        spec,
        user=spec.user if number is None and group is None else _user(number, group, otherwise),
        read_only=bool(own.read_only_root_filesystem),
        capabilities=changed(own.capabilities, had) if own.capabilities else spec.capabilities,
        no_new_privileges=spec.no_new_privileges or own.allow_privilege_escalation is False,
    )


def _perhaps_root(number: int | None, otherwise: str) -> str:
    """Return kubelet's words when a container would run as root, or that cannot be known; empty when it will not."""
    name = otherwise.partition(":")[0] or ROOT
    if number is not None:
        return "" if number else "container's runAsUser breaks non-root policy"
    if name.isdecimal():
        return "" if int(name) else "container has runAsNonRoot and image will run as root"
    return f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"


def _user(number: int | None, group: int | None, otherwise: str) -> str:
    """Return `user:group`. A user of one's own has not the image's group: without a word it is that of its passwd, or root's."""
    name, _, its_group = otherwise.partition(":")
    user = (name or ROOT, its_group) if number is None else (str(number), "")
    return ":".join(filter(None, (user[0], str(group) if group is not None else user[1])))
