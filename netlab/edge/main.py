"""The edge's process: `main` is forked by the spawner into the edge's namespace (docs/architecture.md).

SIGTERM ends it and leaves the kernel as it is: established connections go on, and new ones reach the nodes that were healthy.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

from netlab.controlplane.http import HttpClient
from netlab.dataplane.names import EDGE, host_namespace, namespace_path
from netlab.edge.balancer import Balancer
from netlab.edge.probing import NodeProbe
from netlab.kernel.linux import LinuxKernel

log = logging.getLogger("netlab.edge")


async def serve(arguments: dict[str, str], token: str) -> None:
    """Run the load balancer of a lab until SIGTERM."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    path = namespace_path(host_namespace(arguments["lab"], EDGE))
    probe = NodeProbe()
    try:
        async with HttpClient(arguments["server"], arguments["ca"], token) as client:
            log.info("edge=started lab=%s", arguments["lab"])
            await Balancer(client, LinuxKernel(), path, probe).run()
    finally:
        await probe.close()


def main(arguments: dict[str, str]) -> None:
    """Be the edge until SIGTERM. `arguments`: lab, server, ca (a file), token (a file)."""
    try:
        asyncio.run(serve(arguments, Path(arguments["token"]).read_text().strip()))
    except asyncio.CancelledError:
        log.info("edge=ended lab=%s", arguments["lab"])
