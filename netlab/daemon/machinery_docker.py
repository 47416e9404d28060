"""The daemon's machinery where hosts are containers, which run their agents themselves; pods are containers, too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from netlab.api.lab import HostStatus, Lab
from netlab.daemon.host_processes import token_of
from netlab.daemon.machinery import Machinery
from netlab.engine.client import DockerEngine
from netlab.hosts.docker import DockerRuntime
from netlab.kernel import mounts
from netlab.kernel.door import Kernel
from netlab.node.pods.docker.pods import DockerPods
from netlab.process.podfiles import ETC_SIZE
from netlab.state import StateDirectory


def make(kernel: Kernel, state: StateDirectory, lab: Lab) -> Machinery:
    """Connect to the engine and put the parts together."""
    engine = DockerEngine()
    hosts = DockerRuntime(engine, kernel, state, partial(token_of, state))
    pods = DockerPods(
        engine=engine,
        kernel=kernel,
        state=state,
        domain=lab.spec.networking.dns_domain,
        workloads=state.read_images()["workloads"],
        limit=partial(mounts.limit, size=ETC_SIZE),
    )

    async def processes(_lab: Lab, _nodes: Sequence[HostStatus]) -> None:
        """There are none."""

    async def end_homeless() -> None:
        """A container's processes are in its namespace for good."""

    def resume() -> None:
        """Hosts that are paused are resumed with the others that do not run."""

    async def run() -> None:
        """The engine looks after everything."""

    return Machinery(
        kernel=kernel,
        hosts=hosts,
        pods=pods,
        processes=processes,
        end_homeless=end_homeless,
        resume=resume,
        agent_starts=hosts.agent_starts,
        run=run,
    )
