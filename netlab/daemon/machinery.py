"""What of the daemon depends on the lab's runtime, put together per runtime."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from netlab.api.lab import HostStatus, Lab
from netlab.daemon.host_processes import agent_name, host_processes, token_of
from netlab.daemon.supervisor import Supervisor
from netlab.kernel.door import Kernel
from netlab.node.netns_pods import NetnsPods
from netlab.node.pod_runtime import PodRuntime
from netlab.node.spawn import Spawner
from netlab.runtime.hosts import Runtime
from netlab.runtime.netns import NetnsRuntime
from netlab.runtime.statedir import StateDirectory


@dataclass(frozen=True)
class Machinery:
    """The parts.

    `processes` brings the daemon's processes of the hosts to what a lab with these nodes should have. `agent_starts` tells
    when a host's agent was started, or what may be it: nobody else's Lease counts.
    """

    hosts: Runtime
    pods: PodRuntime
    processes: Callable[[Lab, Sequence[HostStatus]], Awaitable[None]]
    agent_starts: Callable[[str], Collection[int]]


def netns(kernel: Kernel, spawner: Spawner, state: StateDirectory, _lab: Lab) -> Machinery:
    """Hosts are namespaces, whose processes the daemon starts and watches."""
    supervisor = Supervisor(spawner, state)

    async def processes(lab: Lab, nodes: Sequence[HostStatus]) -> None:
        await supervisor.converge(host_processes(state, lab, nodes))

    return Machinery(
        hosts=NetnsRuntime(kernel, state),
        pods=NetnsPods(kernel, spawner, state),
        processes=processes,
        agent_starts=lambda host: supervisor.starts(agent_name(host)),
    )


def docker(kernel: Kernel, _spawner: Spawner, state: StateDirectory, lab: Lab) -> Machinery:
    """Hosts are containers, which run their agents themselves; pods are containers, too."""
    from netlab.node.docker_pods import DockerPods
    from netlab.runtime.docker_engine import DockerEngine
    from netlab.runtime.docker_hosts import DockerRuntime

    engine = DockerEngine()
    hosts = DockerRuntime(engine, kernel, state, partial(token_of, state))
    pods = DockerPods(
        engine=engine,
        kernel=kernel,
        state=state,
        domain=lab.spec.networking.dns_domain,
        workloads=state.read_images()["workloads"],
    )

    async def processes(_lab: Lab, _nodes: Sequence[HostStatus]) -> None:
        """There are none."""

    return Machinery(hosts=hosts, pods=pods, processes=processes, agent_starts=hosts.agent_starts)


RUNTIMES: dict[str, Callable[[Kernel, Spawner, StateDirectory, Lab], Machinery]] = {"netns": netns, "docker": docker}
