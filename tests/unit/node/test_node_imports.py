"""What the programs in a lab's containers carry: all of them start at once, on few processors."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOBODY = {"aiohttp", "attr", "yaml", "cryptography", "sqlite3", "docker", "scapy", "netlab.topology", "netlab.controlplane.api"}
SERVERS = {"netlab.workloads.servers", "netlab.http.server", "netlab.http.messages"}
CONTROLLERS = {"netlab.controlplane.manager", "netlab.controlplane.controllers.table"}


@pytest.mark.parametrize(
    ("program", "foreign"),
    [
        (
            "netlab.node.agent.container",
            NOBODY | CONTROLLERS | {"netlab.workloads.servers", "netlab.node.kubelet.kubelet", "netlab.edge"},
        ),
        ("netlab.edge.container", NOBODY | CONTROLLERS | SERVERS | {"netlab.node.agent.agent"}),
    ],
)
def test_what_an_agent_does_not_load(program: str, foreign: set[str]) -> None:
    """Neither a web framework nor what other programs of a lab need is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {program}; print(*sys.modules)"], capture_output=True, text=True, check=True
    )

    assert not foreign & set(done.stdout.split())
