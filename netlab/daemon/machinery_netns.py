"""The daemon's machinery for hosts that are network namespaces, whose processes it supervises."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from netlab.api.lab import HostStatus, Lab
from netlab.daemon.host_processes import host_processes
from netlab.daemon.machinery import Machinery
from netlab.edge.main import main as edge_main
from netlab.hosts.hosts import fabric_path
from netlab.hosts.netns import NetnsRuntime
from netlab.kernel.door import Kernel
from netlab.node.agent.agent import main as agent_main
from netlab.node.pods.netns.pods import NetnsPods
from netlab.process.records import agent_name
from netlab.process.spawner import Spawner
from netlab.process.supervisor import Supervisor
from netlab.state import StateDirectory
from netlab.workloads.program import main as workloads_main

ENTRIES = {"agent": agent_main, "edge": edge_main, "workloads": workloads_main}
log = logging.getLogger("netlab.daemon")


def make(kernel: Kernel, state: StateDirectory, _lab: Lab) -> Machinery:
    """Fork the spawner and compose the parts."""
    spawner = Spawner.start(state, ENTRIES)
    supervisor = Supervisor(spawner, state, fabric_path(state.lab))

    async def processes(lab: Lab, nodes: Sequence[HostStatus]) -> None:
        await supervisor.converge(host_processes(state, lab, nodes))

    async def run() -> None:
        """End the daemon if its spawner dies, which starts its processes. `up` restarts both."""
        spawner.attach()
        await spawner.closed.wait()
        log.critical("spawner=gone daemon=ending remedy=%r", "netlab up FILE restarts both and adopts the running pods")
        raise SystemExit(1)

    return Machinery(
        kernel=kernel,
        hosts=NetnsRuntime(kernel, state),
        pods=NetnsPods(kernel, spawner, state),
        processes=processes,
        end_homeless=supervisor.end_homeless,
        resume=supervisor.resume,
        agent_starts=lambda host: supervisor.starts(agent_name(host)),
        run=run,
    )
