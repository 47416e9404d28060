"""The edge's process: `main` is forked by the spawner into the edge's namespace (docs/architecture.md).

It is the load balancer, and the DNS server outside the cluster.
SIGTERM ends it and leaves the kernel as it is: established connections go on, and new ones reach the nodes that were healthy.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from netlab.api.lab import Lab
from netlab.controlplane.http import HttpClient
from netlab.edge.balancer import Balancer
from netlab.edge.names import OutsideNames
from netlab.edge.probing import probe
from netlab.ipam import AddressPlan
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.namespaces import OWN
from netlab.process.lifetime import run_until_terminated
from netlab.serving.descriptors import raise_limit

log = logging.getLogger("netlab.edge")


async def serve(arguments: dict[str, str], lab: Lab, token: str) -> None:
    """Run the edge of a lab until cancelled."""
    async with HttpClient(arguments["server"], arguments["ca"], token) as client:
        log.info("edge=started lab=%s", arguments["lab"])
        names = OutsideNames(AddressPlan.of(lab).edge_underlay, upstream=lab.spec.dns.upstream)
        await Balancer(client, LinuxKernel(), OWN, probe, names).run()


def main(arguments: dict[str, str]) -> None:
    """Be the edge until SIGTERM. `arguments`: lab, server; files: lab_file, ca, token."""
    raise_limit()
    lab = msgspec.json.decode(Path(arguments["lab_file"]).read_bytes(), type=Lab)
    token = Path(arguments["token"]).read_text().strip()
    run_until_terminated(serve(arguments, lab, token), log, f"edge=ended lab={arguments['lab']}")
