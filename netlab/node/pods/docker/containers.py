"""Pods as containers: names, labels and what to start, as values (pure).

    netlab_<lab>_<namespace>_<pod>                    the sandbox: has the network namespace, waits
    netlab_<lab>_<namespace>_<pod>_<container>_<run>  a run of a container, in that namespace

Labels contain a container's pod and run, so that a new daemon finds everything again. The files that Kubernetes
writes (resolv.conf, hosts) are the pod's own, mounted. What the pod's manifest leaves open comes from the image: its
program, user, folder and environment.

`secured` is what a securityContext means for a container, as kubelet and containerd read it: the
container's own counts before the pod's, and both before the image's user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from netlab.api.capabilities import DEFAULT
from netlab.api.numbers import whole_number
from netlab.api.pods import Pod, PodSecurityContext, SecurityContext
from netlab.engine.protocol import (
    IDLE_STOP_SIGNAL,
    LAB_LABEL,
    NO_NETWORK,
    OWNER_LABEL,
    ROLE_LABEL,
    VERSION_LABEL,
    ContainerSpec,
    Mount,
)
from netlab.node.pods.builtin import server_spec
from netlab.node.pods.capabilities import changed
from netlab.node.pods.images import Chosen
from netlab.node.pods.limits import PROCESSES, memory_limit
from netlab.node.pods.runtime import Run, RunKey, Stop
from netlab.process.podfiles import ConfigError, expand
from netlab.workloads.protocol import WorkloadArguments

SANDBOX, CONTAINER, NODE = "sandbox", "container", "node"  # roles
RUN_LABEL, SERVER_LABEL = "netlab/run", "netlab/server"
NAME_LABEL = "io.kubernetes.container.name"
PAUSE_COMMAND = ("sleep", "infinity")
READY_SOCKET = "/run/netlab/ready"  # where a built-in workload reports that it listens
ROOT = "0:0"
STOP_SIGNALS = {Stop.DRAIN: "SIGUSR1", Stop.END: "SIGTERM", Stop.KILL: "SIGKILL"}  # to a built-in workload
FILES = ("resolv.conf", "hosts", "hostname")
NETWORK_SYSCTLS = {  # as containerd sets them for Kubernetes: low ports and ping need no privilege
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


def sandbox_spec(lab: str, pod: Pod, *, image: str, hostname: str, version: str) -> ContainerSpec:
    """Return the container that has a pod's network namespace."""
    meta = pod.metadata
    return ContainerSpec(
        name=f"netlab_{lab}_{meta.namespace}_{meta.name}",
        image=image,
        labels=labels(lab, pod, SANDBOX, version),
        entrypoint=PAUSE_COMMAND[:1],
        command=PAUSE_COMMAND[1:],
        network=NO_NETWORK,
        sysctls=NETWORK_SYSCTLS,
        hostname=hostname,
        processes=PROCESSES,
        read_only=True,
        stop_signal=IDLE_STOP_SIGNAL,
    )


def container_spec(lab: str, run: Run, chosen: Chosen, *, network: str, ready: str, version: str) -> ContainerSpec:
    """Return the container of a run; `network` is as Docker names it, `ready` the machine's socket behind READY_SOCKET.

    Raises ConfigError when its securityContext forbids it.
    """
    pod, container, meta = run.pod, run.container, run.pod.metadata
    marks = {NAME_LABEL: container.name, RUN_LABEL: str(run.number), SERVER_LABEL: chosen.server}
    common = ContainerSpec(
        name=f"netlab_{lab}_{meta.namespace}_{meta.name}_{container.name}_{run.number}",
        image=chosen.image,
        labels=labels(lab, pod, CONTAINER, version) | marks,
        environment=run.environment.whole,
        working_directory=container.working_dir,
        network=network,
        processes=PROCESSES,
        memory=memory_limit(container),
        mounts=tuple(Mount(str(run.files.etc / name), f"/etc/{name}", writable=True) for name in FILES),
    )
    spec = _server(common, run, ready) if chosen.server else _program(common, run, chosen)
    return secured(spec, run, chosen.user)


def _server(common: ContainerSpec, run: Run, ready: str) -> ContainerSpec:
    """A built-in workload needs no privilege; on a node's own network low ports do."""
    spec = msgspec.structs.replace(server_spec(run), path="", log="", environment={})
    arguments = WorkloadArguments(spec=spec, ready=READY_SOCKET)
    on_node = run.pod.spec.host_network
    return replace(
        common,
        command=(msgspec.json.encode(arguments).decode(),),
        user=ROOT if on_node else "",
        capabilities=("NET_BIND_SERVICE",) if on_node else (),
        mounts=(*common.mounts, Mount(ready, READY_SOCKET)),
    )


def _program(common: ContainerSpec, run: Run, chosen: Chosen) -> ContainerSpec:
    """A program has what it has on a cluster by default: the engine's own set of capabilities, and whatever setuid gives."""
    container = run.container
    known = run.environment.declared
    words = {field: tuple(expand(word, known) for word in getattr(container, field)) for field in ("command", "args")}
    return replace(
        common,
        entrypoint=words["command"] or None,
        command=words["args"] or None,
        user=ROOT if chosen.stands_in else "",  # as the images that netlab's stands in for
        capabilities=None,
        no_new_privileges=False,
    )


def secured(spec: ContainerSpec, run: Run, image_user: str) -> ContainerSpec:
    """Return a container as its securityContext specifies; `image_user` is the user of the image.

    Raises ConfigError when it must not run as root, and would or might.
    """
    own = run.container.security_context or SecurityContext()
    pods = run.pod.spec.security_context or PodSecurityContext()
    otherwise = spec.user or image_user
    number = own.run_as_user if own.run_as_user is not None else pods.run_as_user
    group = own.run_as_group if own.run_as_group is not None else pods.run_as_group
    demanded = own.run_as_non_root if own.run_as_non_root is not None else pods.run_as_non_root
    if demanded and (why := _perhaps_root(number, otherwise)):
        meta = run.pod.metadata
        who = f'pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {run.container.name}'
        raise ConfigError(f"{why} ({who}); set runAsUser to a user other than 0")
    had = DEFAULT if spec.capabilities is None else spec.capabilities
    return replace(
        spec,
        user=spec.user if number is None and group is None else _user(number, group, otherwise),
        read_only=bool(own.read_only_root_filesystem),
        capabilities=changed(own.capabilities, had) if own.capabilities else spec.capabilities,
        no_new_privileges=spec.no_new_privileges or own.allow_privilege_escalation is False,
    )


def _perhaps_root(number: int | None, otherwise: str) -> str:
    """Return kubelet's message if a container would or might run as root, else ""."""
    name = otherwise.partition(":")[0] or "0"
    if number is not None:
        return "" if number else "container's runAsUser breaks non-root policy"
    if name.isdecimal():
        return "" if int(name) else "container has runAsNonRoot and image will run as root"
    unknown = f"image has non-numeric user ({name}), cannot verify user is non-root"
    return f"container has runAsNonRoot and {unknown}"


def _user(number: int | None, group: int | None, otherwise: str) -> str:
    """Return `user:group`.

    A user of the manifest does not have the image's group: its own is that of passwd, or root's.
    """
    name, _, its_group = otherwise.partition(":")
    user = (name or "0", its_group) if number is None else (str(number), "")
    return ":".join(filter(None, (user[0], str(group) if group is not None else user[1])))


def labels(lab: str, pod: Pod, role: str, version: str) -> dict[str, str]:
    """Return the labels of everything that belongs to a pod."""
    meta = pod.metadata
    return {
        LAB_LABEL: lab,
        ROLE_LABEL: role,
        OWNER_LABEL: meta.uid,
        VERSION_LABEL: version,
        "io.kubernetes.pod.name": meta.name,
        "io.kubernetes.pod.namespace": meta.namespace,
        "io.kubernetes.pod.uid": meta.uid,
    }


def key_of(marks: Mapping[str, str]) -> RunKey:
    """Return which run a container with these labels is; one with foreign labels is not a known run."""
    return RunKey(marks.get(OWNER_LABEL, ""), marks.get(NAME_LABEL, ""), whole_number(marks.get(RUN_LABEL), -1))
