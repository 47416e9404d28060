"""A loss that nothing else explains: the links and routes of the nodes it passed are compared."""

from __future__ import annotations

import pytest

from netlab.dataplane.state import Address, Link, Operation, Route, Verb, Veth
from netlab.kernel.fake import FakeKernel
from netlab.netfilter.script import render
from netlab.overlay.vxlan import lease_annotations
from netlab.plane import View, parts
from netlab.probe.judge.hints import Hints
from netlab.probe.plan import fake
from netlab.probe.plan.checks import Check, Expectation, Reach
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.snapshot import Snapshot
from netlab.probe.run.observed import Observed

PATH = "/run/netns/test-node1"
MTU = Operation(Verb.SET, Link("flannel.1", mtu=1000))
ROUTE = Operation(Verb.DELETE, Route("10.244.2.0/24", "flannel.1", "10.244.2.0", onlink=True))
ELSEWHERE = Operation(Verb.SET, Address("eth0", "10.9.9.9/32"))


def announced(number: int) -> dict[str, object]:
    node = fake.node(number)
    annotations = lease_annotations(f"172.30.1.{number}", f"02:00:00:00:00:0{number}")
    return {**node, "metadata": {**node["metadata"], "annotations": annotations}}


def programmed(lab: Snapshot) -> FakeKernel:
    """Return a kernel whose node1 holds what its agent makes."""
    kernel = FakeKernel()
    kernel.create_namespaces([PATH, "/run/netns/far"])
    kernel.perform(PATH, [Operation(Verb.ADD, Link("eth0", Veth("far", "/run/netns/far")))])
    for part in parts(lab.lab):
        wanted = part.wanted(View(lab.nodes[0], lab.nodes))
        if wanted.state:
            kernel.perform(PATH, wanted.state.difference(kernel.observe(PATH)))
        for table in wanted.tables:
            kernel.nft(PATH, render(table))
    return kernel


DAMAGE = [
    pytest.param((), Outcome.DROPPED, (), id="none"),
    pytest.param(
        (MTU,), Outcome.DROPPED, ("`ip link set dev flannel.1 mtu 1450 up` would",), id="MTU"
    ),
    pytest.param((MTU, ROUTE), Outcome.DROPPED, ("mtu 1450 up` and 1 more would",), id="two"),
    pytest.param((MTU,), Outcome.ALLOWED, (), id="not lost"),
    pytest.param((ELSEWHERE,), Outcome.DROPPED, (), id="another device"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "outcome", "words"), DAMAGE)
def test_links_are_compared_when_nothing_else_explains(damage, outcome, words: tuple[str, ...]):
    """One sentence with the first command that repairs them."""
    lab = fake.snapshot(fake.cluster(nodes=[announced(1), announced(2)]))
    kernel = programmed(lab)
    kernel.perform(PATH, damage)
    source, target = (place for place in lab.pod_places if place.name in {"default/a1", "default/b1"})
    check = Check("pod-pod", source, Reach("TCP", target), Expectation((Outcome.ALLOWED,)), "b1")
    found = Hints(lab, kernel).of(check, Observed(outcome))

    assert len(words) == len(found)
    assert all(word in sentence for word, sentence in zip(words, found, strict=True))
    assert all("overlay of node1 differs from what its agent configures: " in sentence for sentence in found)
