"""What the tester takes out of the machine's neighbor table again, and what it says of an overflow (findings P1)."""

from __future__ import annotations

import pytest

from netlab.kernel.door import NeighbourTable
from netlab.kernel.fake import FakeKernel
from netlab.kernel.overflow import Overflows, sentence
from netlab.probe.plan.checks import Check, Expectation, Reach, Visit
from netlab.probe.plan.fake import cluster, node, pod
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.snapshot import Snapshot
from netlab.probe.run.neighbours import MOST_PAIRS, Meetings
from netlab.probe.run.observed import Hit, Observed
from netlab.probe.run.wire import Packet, Sighting

PODS = MOST_PAIRS + 2  # of node1
EXPECTED = Expectation((Outcome.ALLOWED,))


class Lab:
    """Pods of which each has learned the entry of every other one of its node; p0 asks."""

    def __init__(self) -> None:
        pods = [pod(f"p{number}", f"10.244.1.{number + 2}") for number in range(PODS)]
        far = pod("far", "10.244.2.2")
        self.snapshot = Snapshot.decode("test", cluster(nodes=[node(1), node(2)], pods=[*pods, far]))
        self.places = {place.name.partition("/")[2]: place for place in self.snapshot.pod_places}
        self.kernel = FakeKernel()
        self.kernel.create_namespaces([self.path(name) for name in self.places])
        for name, place in self.places.items():
            self.kernel.learned[self.path(name)] = {p.address for p in self.places.values() if p.node == place.node}
        self.meetings = Meetings(self.snapshot, self.kernel)

    def path(self, name: str) -> str:
        return f"/run/netns/{self.places[name].namespace}"

    def meet(self, action, observed, source: str = "p0") -> None:
        self.meetings.note(Check("x", self.places[source], action, EXPECTED, "x"), observed)

    def reach(self, target: str, source: str = "p0") -> None:
        self.meet(Reach("TCP", self.places[target]), Observed(Outcome.ALLOWED), source)

    def fill(self) -> None:
        """Have so many other pairs meet that all before them are forgotten."""
        for number in range(2, PODS):
            self.reach(f"p{number}", "p1")

    def known(self, one: str, other: str) -> tuple[bool, bool]:
        """Tell whether two pods know each other's MAC addresses."""
        pairs = ((one, other), (other, one))
        return tuple(self.places[b].address in self.kernel.learned[self.path(a)] for a, b in pairs)


def packet(source: str, destination: str) -> Sighting:
    return Sighting("node1", "cni0", "in", 1, 1, Packet("k", "TCP", source, destination, 1, 80, "SYN", answer=False), b"")


MEETINGS = [
    pytest.param(lambda lab: lab.reach("p9"), id="a packet to its address"),
    pytest.param(lambda lab: lab.reach("p0", "p9"), id="a packet from it"),
    pytest.param(
        lambda lab: lab.meet(Visit("TCP", "10.96.0.5", 80), Observed(Outcome.ALLOWED, hits=(Hit("10.244.1.11:80"),))),
        id="a backend that answered",
    ),
    pytest.param(
        lambda lab: lab.meet(
            Visit("UDP", "10.96.0.5", 80), Observed(Outcome.REFUSED, trail=(packet("10.244.1.2", "10.244.1.11"),))
        ),
        id="a backend that refused",
    ),
]


@pytest.mark.parametrize("meet", MEETINGS)
def test_the_oldest_pair_forgets(meet):
    """Both sides of a pair of one node forget each other, but only once so many other pairs have met."""
    lab = Lab()
    meet(lab)
    before = lab.known("p0", "p9")
    lab.fill()

    assert ((True, True), (False, False)) == (before, lab.known("p0", "p9"))
    assert (True, True) == lab.known("p0", "p8")


def test_a_pair_that_meets_again_is_the_youngest():
    """Its connection may still be under way."""
    lab = Lab()
    lab.reach("p9")
    for number in range(2, PODS - 2):
        lab.reach(f"p{number}", "p1")
    lab.reach("p9")
    lab.reach(f"p{PODS - 1}", "p1")

    assert (True, True) == lab.known("p0", "p9")


def test_what_goes_through_the_gateway_is_no_meeting():
    """Pods of two nodes know nothing of each other."""
    lab = Lab()
    lab.reach("far")
    lab.fill()
    lab.kernel.delete_namespaces([lab.path("p2")])  # one that is gone is no error
    lab.reach("p9")

    assert {lab.places["far"].address} == lab.kernel.learned[lab.path("far")]


# ---- overflow
@pytest.mark.parametrize(
    ("table", "said"),
    [
        pytest.param(NeighbourTable(1024, 7), (), id="only before"),
        pytest.param(NeighbourTable(1024, 12), ("overflowed 5 times during the test", "gc_thresh3=16384"), id="since then"),
        pytest.param(NeighbourTable(8192, 12), (), id="the limit has been raised"),
    ],
)
def test_an_overflow_is_said_in_words(table, said):
    """How often, what it means, and the command that helps."""
    kernel = FakeKernel()
    kernel.table = NeighbourTable(1024, 7)
    overflows = Overflows(kernel, "during the test")
    kernel.table = table

    words = " ".join(overflows.words())

    assert bool(said) == bool(words)
    assert [] == [part for part in said if part not in words]


def test_a_raised_limit_that_overflows_too():
    """The command asks for more than there is."""
    assert "gc_thresh3=131072" in sentence(NeighbourTable(32768, 1), 1, "since the machine booted")
