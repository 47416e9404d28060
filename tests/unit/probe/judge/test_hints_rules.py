"""The edge's table is compared with what the edge writes for the objects and the health that it has reported."""

from __future__ import annotations

import json

import pytest

from netlab.api.wellknown import LOAD_BALANCERS, SYNCED
from netlab.dataplane.state import Address, Bridge, Link, Operation, Rule, Verb
from netlab.edge.frontends import frontends, usable
from netlab.edge.programming import Programmer
from netlab.edge.rules import Balancing
from netlab.kernel.fake import FakeKernel
from netlab.netfilter.script import render
from netlab.probe.judge.hints_rules import RulesHints, edge_tables
from netlab.probe.plan import fake

PATH = "/run/netns/test-edge"
BOTH = ("node1", "node2")


def snapshot(healthy=BOTH, *, reported=True):
    """Return a lab with a Service at 198.51.100.1, and what the edge reports about it."""
    port = {"port": 80, "targetPort": 80, "nodePort": 30080}
    web = fake.service("web", type="LoadBalancer", ports=(port,), ingress="198.51.100.1", loadBalancerSourceRanges=["10.0.0.0/8"])
    report = {LOAD_BALANCERS: json.dumps({"default/web": {"80/TCP": list(healthy)}}), SYNCED: json.dumps({"services": "1"})}
    lease = {"metadata": {"name": "netlab-edge", "namespace": "kube-system", "annotations": report if reported else {}}}
    return fake.snapshot(fake.cluster(services=[web], leases=[lease]))


def said(lab, *scripts, written=None):
    """Return what is said of an edge that has written its table, after these scripts of a stranger."""
    kernel = FakeKernel()
    kernel.create_namespaces([PATH])
    for table in edge_tables(written or lab):
        kernel.nft(PATH, render(table))
    for script in scripts:
        kernel.nft(PATH, script)
    hints = RulesHints(lab, kernel)
    return [*hints.of(["client", "edge", "fabric"])]


def test_lost_routing_rules_of_the_edge_are_named():
    """A port without node port is routed by marks: a rule or route that is missing is a cause, those of others are not."""
    web = fake.service("web", type="LoadBalancer", ports=({"port": 80, "targetPort": 80},), ingress="198.51.100.1")
    lab = fake.snapshot(fake.cluster(services=[web]))
    kernel = FakeKernel()
    kernel.create_namespaces([PATH])
    link = [Link("eth0", Bridge()), Address("eth0", "172.30.0.1/16")]
    kernel.perform(PATH, [Operation(Verb.ADD, item) for item in link])
    nodes = usable(lab.nodes, lab.family).backends
    Programmer(kernel, PATH, lab.family).program(
        Balancing(dict.fromkeys(frontends(lab.services, lab.family), nodes), nodes), frozenset({"198.51.100.1"})
    )
    whole = [*RulesHints(lab, kernel).of(["edge"])]
    lost = next(rule for rule in kernel.observe(PATH, policy=True).rules if rule.mask)
    kernel.perform(PATH, [Operation(Verb.DELETE, lost), Operation(Verb.ADD, Rule(60, 5555))])
    (said,) = RulesHints(lab, kernel).of(["edge"])

    assert [] == whole
    assert said.endswith("ip rule add preference 100 fwmark 0x1010000/0xffff0000 lookup 10257")


ROWS = [
    pytest.param((), "", id="as it is written"),
    pytest.param(("add table ip trace",), "", id="a table of somebody else"),
    pytest.param(("flush chain ip netlab-edge firewall-prerouting",), "chain firewall-prerouting has no rules", id="flushed"),
    pytest.param(("delete table ip netlab-edge",), "the table does not exist", id="deleted"),
    pytest.param(("add chain ip netlab-edge x",), "chain x was not created by netlab", id="a chain more"),
]


@pytest.mark.parametrize(("scripts", "words"), ROWS)
def test_the_edges_table_is_compared(scripts, words):
    """One sentence for a table that differs, with the first differences; none for one that is as the edge writes it."""
    found = said(snapshot(), *scripts)

    assert bool(words) == bool(found)
    assert all(f"table ip netlab-edge of edge differs from what the edge writes: {words}" in sentence for sentence in found)


@pytest.mark.parametrize("healthy", [(), ("node1",), BOTH])
def test_unhealthy_nodes_are_no_damage(healthy):
    """The table for the health that the edge reports is right, and one for other health is not."""
    lab = snapshot(healthy)
    other = snapshot(("node2",))

    assert [] == said(lab)
    assert said(lab, written=other)


def test_without_a_report_there_is_nothing_to_compare():
    """An edge that has not reported may have written nothing yet."""
    assert [] == said(snapshot(reported=False), written=snapshot())
