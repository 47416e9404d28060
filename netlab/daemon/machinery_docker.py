"""The daemon's machinery for hosts that are containers and run their agents.

Pods are containers, too.
"""

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
    """Connect to the engine and compose the parts."""
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
        """Do nothing: the daemon has no process of a host."""

    async def end_homeless() -> None:
        """Do nothing: a container's processes never leave its namespace."""

    def resume() -> None:
        """Do nothing: the runtime resumes paused hosts."""

    async def run() -> None:
        """Do nothing: the engine runs everything."""

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
