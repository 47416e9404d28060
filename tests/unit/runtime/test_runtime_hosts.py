"""Hosts get addresses by index: in file order at first, the lowest free one later, never renumbered."""

from __future__ import annotations

import pytest

from netlab.api.lab import HostStatus, Lab, LabClient, LabNode, LabSpec
from netlab.api.meta import ObjectMeta
from netlab.hosts.hosts import fabric_hosts, plan_hosts


def lab(nodes, clients=()):
    spec = LabSpec(nodes=tuple(LabNode(name=n) for n in nodes), clients=tuple(LabClient(name=n) for n in clients))
    return Lab(metadata=ObjectMeta(name="demo"), spec=spec)


@pytest.mark.parametrize(
    ("before", "names", "after"),
    [
        pytest.param([], ["a", "b"], ["a 172.30.1.1", "b 172.30.1.2"], id="file order"),
        pytest.param(["a", "b"], ["b", "c"], ["b 172.30.1.2", "c 172.30.1.3"], id="the index of a leaving host is not re-used"),
        pytest.param(["a"], ["b", "a"], ["b 172.30.1.2", "a 172.30.1.1"], id="put before: nobody is renumbered"),
    ],
)
def test_node_addresses(before, names, after):
    """A node keeps its address while it exists."""
    previous = tuple(HostStatus(name=name, role="node", index=i, address="") for i, name in enumerate(before, 1))

    plan = plan_hosts(lab(names), previous)

    assert after == [f"{host.name} {host.address}" for host in plan.wanted]
    assert sorted(set(before) - set(names)) == [host.name for host in plan.removed]


def test_a_node_and_a_client_may_not_be_confused():
    """A client that takes the name of a node that left is another host."""
    previous = (HostStatus(name="x", role="node", index=1, address="172.30.1.1"),)

    plan = plan_hosts(lab(["n"], ["x"]), previous)

    assert [("n", "node"), ("x", "client")] == [(host.name, host.role) for host in plan.wanted]
    assert ["node"] == [host.role for host in plan.removed]


def test_fabric_hosts():
    """The edge joins both networks; nodes and clients have it as gateway on theirs."""
    description = lab(["n"], ["c"])

    edge, node, client = fabric_hosts(description, plan_hosts(description, ()).wanted)

    assert ("172.30.0.1/16", "203.0.113.1/24", "") == (edge.underlay, edge.outside, edge.gateway)
    assert ("172.30.1.1/16", "", "172.30.0.1") == (node.underlay, node.outside, node.gateway)
    assert ("", "203.0.113.10/24", "203.0.113.1") == (client.underlay, client.outside, client.gateway)
    assert "/run/netns/demo-n" == node.path
