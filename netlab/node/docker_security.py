"""What a pod's securityContext means for its containers (pure). The container's word counts before the pod's."""

from __future__ import annotations

from dataclasses import replace

from netlab.api.pods import Capabilities, PodSecurityContext, SecurityContext
from netlab.node.pod_runtime import Run
from netlab.node.podfiles import ConfigError
from netlab.runtime.docker import ContainerSpec

# What Docker leaves a container by default, as containerd does for Kubernetes.
DEFAULT_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
ALL = "ALL"
ROOTS = ("", "0", "root")


def secured(spec: ContainerSpec, run: Run, image_user: str) -> ContainerSpec:
    """Return a container as its securityContext wants it; `image_user` is who the image runs as.

    Raises ConfigError when it must not run as root, and would.
    """
    own = run.container.security_context or SecurityContext()
    user = _user(own, run.pod.spec.security_context or PodSecurityContext(), spec.user or image_user)
    context = run.pod.spec.security_context
    demanded = own.run_as_non_root if own.run_as_non_root is not None else bool(context and context.run_as_non_root)
    if demanded and user.partition(":")[0] in ROOTS:
        raise ConfigError("container has runAsNonRoot and image will run as root; say who it is with runAsUser")
    return replace(
        spec,
        user=user if user != image_user else spec.user,
        read_only=bool(own.read_only_root_filesystem),
        capabilities=_capabilities(own.capabilities) if own.capabilities else spec.capabilities,
        no_new_privileges=spec.no_new_privileges or own.allow_privilege_escalation is False,
    )


def _user(own: SecurityContext, pods: PodSecurityContext, otherwise: str) -> str:
    user = own.run_as_user if own.run_as_user is not None else pods.run_as_user
    group = own.run_as_group if own.run_as_group is not None else pods.run_as_group
    name, _, its_group = otherwise.partition(":")
    words = (str(user) if user is not None else name or "0", str(group) if group is not None else its_group)
    return otherwise if user is None and group is None else ":".join(filter(None, words))


def _capabilities(wanted: Capabilities) -> tuple[str, ...]:
    kept = () if ALL in wanted.drop else tuple(name for name in DEFAULT_CAPABILITIES if name not in wanted.drop)
    return tuple(sorted({*kept, *wanted.add}))
