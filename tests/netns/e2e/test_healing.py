"""What is broken by hand in a node heals: at once where the kernel tells of it, and at the next `up` everything."""

from __future__ import annotations

import os
import re
import select
import subprocess
from contextlib import closing

import pytest
from labdriver import TOPOLOGIES, LabDriver

from netlab.dataplane.names import namespace_path
from netlab.kernel.linux import LinuxKernel

QUICKSTART = TOPOLOGIES / "quickstart.yaml"
LONGEST = 20  # seconds; a resync would take up to 30


@pytest.fixture(scope="module")
def healthy():
    """One lab for all rows: each leaves it whole."""
    lab = LabDriver(f"h{os.getpid()}")
    try:
        lab.up(QUICKSTART)
        yield lab
    finally:
        lab.down()


def ip(lab, command, host="node1"):
    done = subprocess.run(
        ["ip", "netns", "exec", f"{lab.name}-{host}", *command.split()], capture_output=True, text=True, check=True, timeout=20
    )
    return re.sub(r"(?m)^\d+: ", "", done.stdout)


def overlay(lab):
    """What the overlay of node1 is made of."""
    kernel = LinuxKernel()
    state = kernel.observe(namespace_path(f"{lab.name}-node1"))
    return (
        [link for link in state.links if link.name == "flannel.1"],
        *(sorted(str(e) for e in kind if e.device == "flannel.1") for kind in (state.addresses, state.neighbours)),
        *(sorted(str(e) for e in kind if e.device == "flannel.1") for kind in (state.forwarding, state.routes)),
    )


DAMAGE = ["ip link del flannel.1", "ip link set flannel.1 down", "ip route flush dev flannel.1", "ip address flush dev flannel.1"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_overlay_heals_at_once(healthy, damage):
    """The kernel tells the agent, which puts everything back before the next resync could (semantics 2.22, S4)."""
    before = overlay(healthy)
    with closing(LinuxKernel().monitor(namespace_path(f"{healthy.name}-node1"))) as monitor:
        ip(healthy, damage)
        while overlay(healthy) != before:
            readable, _, _ = select.select([monitor], [], [], LONGEST)
            assert readable, f"{damage}: nothing was put back within {LONGEST} s"
            monitor.read()

    assert before == overlay(healthy)


BY_UP = [
    pytest.param("node1", "ip link del flannel.1", id="flannel.1 deleted"),
    pytest.param("node1", "ip route flush table main", id="routes of a node flushed"),
    pytest.param("node1", "bridge fdb flush dev flannel.1", id="FDB flushed"),
    pytest.param("node2", "nft flush ruleset", id="rules of a node flushed"),
    pytest.param("edge", "nft flush ruleset", id="rules of the edge flushed"),
    pytest.param("edge", "ip address flush dev lo scope global", id="load balancer addresses flushed"),
]


@pytest.mark.parametrize(("host", "damage"), BY_UP)
def test_up_has_everybody_look(healthy, host, damage):
    """After `up` the lab is whole: it asks agents and edge to look at their kernel, and waits until they have (S4)."""
    ip(healthy, damage, host)
    healthy.up(QUICKSTART)
    checks = healthy.test("--timeout", "2")["checks"]

    assert {"pass"} == {check["verdict"] for check in checks}
