"""The machine's neighbor table through the door: its numbers, and learned entries taken out of it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from netlab.dataplane.state import Address, Link, Neighbour, Operation, Verb, Veth
from netlab.kernel.door import Kernel
from netlab.kernel.linux import LinuxKernel

pytestmark = pytest.mark.netns

OWN, LEARNED, PERMANENT, FAILED = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"
LIMIT = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")


def entries(path: str) -> dict[str, list[str]]:
    """Return the states of a namespace's entries by address."""
    command = ["ip", "-n", Path(path).name, "-j", "neigh"]
    return {e["dst"]: e["state"] for e in json.loads(subprocess.run(command, capture_output=True, check=True).stdout)}


@pytest.fixture
def pair(kernel: Kernel, make_namespace: Callable[[str], str]) -> str:
    """Two namespaces on one cable; the first has learned an entry, has a permanent one, and asks in vain for a third."""
    path, far = make_namespace("a"), make_namespace("b")
    kernel.perform(path, [Operation(Verb.ADD, Link("eth0", Veth("eth0", far))), _address(OWN)])
    kernel.perform(far, [Operation(Verb.SET, Link("eth0", up=True)), _address(LEARNED)])
    kernel.perform(path, [Operation(Verb.SET, Neighbour("eth0", PERMANENT, "02:00:00:00:00:03"))])
    if isinstance(kernel, LinuxKernel):
        with kernel.inside(path), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for address in (LEARNED, FAILED):
                sock.sendto(b"x", (address, 9))
    else:
        kernel.learned[path] = {LEARNED}
    return path


def _address(address: str) -> Operation:
    return Operation(Verb.SET, Address("eth0", f"{address}/24"))


def test_learned_entries_are_forgotten(kernel: Kernel, pair: str):
    """Only those of the addresses given, only learned ones: permanent ones stay, and those that packets wait for."""
    counts = [kernel.forget_neighbours(pair, asked) for asked in ((), (PERMANENT, FAILED), (LEARNED, PERMANENT), (LEARNED,))]

    assert [0, 0, 1, 0] == counts
    assert Neighbour("eth0", PERMANENT, "02:00:00:00:00:03") in kernel.observe(pair).neighbours
    if isinstance(kernel, LinuxKernel):
        assert {PERMANENT, FAILED} == set(entries(pair))


def test_the_table_has_a_limit(kernel: Kernel):
    """It is the machine's, wherever it is asked for."""
    limit = int(LIMIT.read_text()) if LIMIT.exists() else kernel.neighbour_table().limit

    assert limit == kernel.neighbour_table().limit > 0
    assert kernel.neighbour_table().overflows >= 0
