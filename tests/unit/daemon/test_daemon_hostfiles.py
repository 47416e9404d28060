"""Hosts of a lab know each other by name, and ask the DNS server outside the cluster (semantics 11.21)."""

from __future__ import annotations

import pytest

from netlab.api.lab import HostStatus, Lab, LabClient, LabSpec
from netlab.api.meta import ObjectMeta
from netlab.daemon.hostfiles import host_files, write_host_files
from netlab.state import StateDirectory

LAB = Lab(metadata=ObjectMeta(name="demo"), spec=LabSpec(clients=(LabClient(name="db", hostnames=("db.example.com",)),)))
HOSTS = (
    HostStatus(name="node1", role="node", index=1, address="172.30.1.1"),
    HostStatus(name="db", role="client", index=1, address="203.0.113.10"),
)


@pytest.mark.parametrize("host", ["node1", "db", "edge"])
def test_files(host):
    """Each host has its own name, and the same resolver and table of hosts."""
    files = host_files(LAB, HOSTS)[host]

    assert files["resolv.conf"] == "nameserver 172.30.0.1\n"
    assert f"{host}\n" == files["hostname"]
    assert ["node1", "db db.example.com", "edge"] == [line.partition("\t")[2] for line in files["hosts"].splitlines()[1:]]


def test_written_once(tmp_path):
    """A file that is right is not written again."""
    state = StateDirectory("demo", tmp_path)
    write_host_files(state, LAB, HOSTS)
    before = (state.host("node1") / "hosts").stat().st_mtime_ns

    write_host_files(state, LAB, HOSTS)

    assert before == (state.host("node1") / "hosts").stat().st_mtime_ns
