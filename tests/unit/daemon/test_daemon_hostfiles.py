"""Hosts of a lab know each other by name; nodes ask their own DNS server, the outside asks nobody."""

from __future__ import annotations

import pytest

from netlab.api.lab import HostStatus, Lab, LabClient, LabSpec
from netlab.api.meta import ObjectMeta
from netlab.daemon.hostfiles import NO_RESOLVER, host_files, write_host_files
from netlab.runtime.statedir import StateDirectory

LAB = Lab(metadata=ObjectMeta(name="demo"), spec=LabSpec(clients=(LabClient(name="db", hostnames=("db.example.com",)),)))
HOSTS = (
    HostStatus(name="node1", role="node", index=1, address="172.30.1.1"),
    HostStatus(name="db", role="client", index=1, address="203.0.113.10"),
)


@pytest.mark.parametrize(("host", "resolver"), [("node1", "nameserver 172.30.1.1\n"), ("db", NO_RESOLVER), ("edge", NO_RESOLVER)])
def test_files(host, resolver):
    """Each host has its own name and resolver, and the same table of hosts."""
    files = host_files(LAB, HOSTS)[host]

    assert resolver == files["resolv.conf"]
    assert f"{host}\n" == files["hostname"]
    assert ["node1", "db db.example.com", "edge"] == [line.partition("\t")[2] for line in files["hosts"].splitlines()[1:]]


def test_written_once(tmp_path):
    """A file that is right is not written again."""
    state = StateDirectory("demo", tmp_path)
    write_host_files(state, LAB, HOSTS)
    before = (state.host("node1") / "hosts").stat().st_mtime_ns

    write_host_files(state, LAB, HOSTS)

    assert before == (state.host("node1") / "hosts").stat().st_mtime_ns
