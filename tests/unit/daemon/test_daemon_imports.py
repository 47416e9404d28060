"""What a lab's daemon carries: every process of a lab is forked from it or beside it, so each megabyte counts."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["docker", "scapy", "rich", "typer", "cryptography"])
def test_the_daemon_does_not_carry(module):
    """A library that a daemon of namespaces has no use for is not imported with it."""
    words = f"import sys, netlab.daemon.main; print('{module}' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)

    assert "False" == done.stdout.strip()
