"""What a lab's daemon carries: every process of a lab is forked from it or beside it, so each megabyte counts."""

from __future__ import annotations

import subprocess
import sys

import pytest

ALWAYS = ("scapy", "rich", "typer", "cryptography")
OF_THE_OTHER = {
    "netns": ("docker", "requests"),
    "docker": ("netlab.node.agent.agent", "netlab.edge.main", "netlab.workloads.program", "dns"),
}


@pytest.mark.parametrize("runtime", OF_THE_OTHER)
def test_the_daemon_does_not_carry(runtime):
    """Neither what other verbs need, nor what the other runtime does."""
    words = f"import sys, netlab.daemon.main as d; d.MAKERS[{runtime!r}](); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)

    assert set() == {*ALWAYS, *OF_THE_OTHER[runtime]} & set(done.stdout.split())
