"""Which containers are built-in workloads, and what their server receives (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from netlab.api.catalogue import brings, find
from netlab.api.pods import Container
from netlab.node.pods.runtime import Run, RunKey
from netlab.process.podfiles import expand
from netlab.workloads.protocol import ServerSpec, ServerStatus

# The program an image starts by itself: a `command` that names it means the built-in workload, with the rest as args.
ENTRYPOINTS: Mapping[str, tuple[str, ...]] = {
    "agnhost": ("/agnhost", "agnhost"),
    "kuard": ("/kuard",),
    "whoami": ("/whoami",),
    "http-echo": ("/http-echo",),
    "pause": ("/pause",),
    "nginx": (),
    "color": (),
    "echo": (),
}


def builtin_of(container: Container) -> str:
    """Return the built-in workload that runs this container; "" when its own command does."""
    workload = find(container.image)
    if workload is None:
        return ""
    if not container.command or container.command[0] in ENTRYPOINTS.get(workload.server, ()):
        return workload.server
    return ""


def is_brought(container: Container) -> bool:
    """Return whether netlab's workloads image can do what this container does: be a server, or run a command with its tools."""
    return bool(builtin_of(container)) or bool(container.command and brings(container.image))


def server_spec(run: Run) -> ServerSpec:
    """Return what the server of a built-in workload receives."""
    pod, container = run.pod, run.container
    words = (*container.command[1:], *container.args)
    return ServerSpec(
        key=f"{pod.metadata.uid}/{container.name}",
        run=run.number,
        pod=pod.metadata.name,
        namespace=pod.metadata.namespace,
        node=pod.spec.node_name,
        container=container.name,
        path=run.namespace,
        address=run.address,
        server=builtin_of(container),
        args=tuple(expand(word, run.environment.declared) for word in words),
        environment=run.environment.whole,
        ports=tuple((port.container_port, port.protocol) for port in container.ports),
        log=str(run.files.log(container.name)),
    )


def run_key(status: ServerStatus) -> RunKey:
    """Return which run the server is that reports this."""
    uid, _, name = status.key.partition("/")
    return RunKey(uid, name, status.run)
