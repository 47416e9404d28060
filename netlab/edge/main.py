"""The edge's process: `main` is forked by the spawner into the edge's namespace (docs/architecture.md).

SIGTERM ends it and leaves the kernel as it is: established connections go on, and new ones reach the nodes that were healthy.
"""

from __future__ import annotations

import logging
from pathlib import Path

from netlab.controlplane.http import HttpClient
from netlab.edge.balancer import Balancer
from netlab.edge.probing import probe
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.namespaces import OWN
from netlab.runtime.lifetime import run_until_terminated
from netlab.serving.descriptors import raise_limit

log = logging.getLogger("netlab.edge")


async def serve(arguments: dict[str, str], token: str) -> None:
    """Run the load balancer of a lab until cancelled."""
    async with HttpClient(arguments["server"], arguments["ca"], token) as client:
        log.info("edge=started lab=%s", arguments["lab"])
        await Balancer(client, LinuxKernel(), OWN, probe).run()


def main(arguments: dict[str, str]) -> None:
    """Be the edge until SIGTERM. `arguments`: lab, server, ca (a file), token (a file)."""
    raise_limit()
    token = Path(arguments["token"]).read_text().strip()
    run_until_terminated(serve(arguments, token), log, f"edge=ended lab={arguments['lab']}")
