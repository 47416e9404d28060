"""What changes in a lab while its checks run: which checks are run again, and which are judged."""

from __future__ import annotations

import pytest

from netlab.probe.connectivity import Repetition
from netlab.probe.judge.changes import NOTHING, Changes, compare, repeated
from netlab.probe.judge.hints import Hints
from netlab.probe.judge.verdict import Result
from netlab.probe.plan import fake
from netlab.probe.plan.checks import Check, Expectation
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.plan import plan
from netlab.probe.run.observed import Observed

SERVICES = [fake.service(name, clusterIP=f"10.96.0.{20 + n}") for n, name in enumerate(("blue", "red"))]
SLICES = [fake.endpoints("blue", ["10.244.1.2"]), fake.endpoints("red", ["10.244.2.2"])]


def lab(**changes):
    return fake.snapshot(fake.cluster(**{"services": SERVICES, "slices": SLICES, **changes}))


def versioned(objects, version):
    return [{**o, "metadata": {**o["metadata"], "resourceVersion": version}} for o in objects]


BEFORE = lab()
PODS = [fake.pod("a1", "10.244.1.2"), fake.pod("a2", "10.244.1.3"), fake.pod("b1", "10.244.2.2")]
MOVED = [*PODS[:2], fake.pod("b1", "10.244.2.9")]
READY = {**fake.node(1), "status": {**fake.node(1)["status"], "conditions": [{"type": "Ready", "status": "True"}]}}
ROWS = [
    ("nothing", lab(), NOTHING),
    ("only versions", lab(pods=versioned(PODS, "9"), services=versioned(SERVICES, "9")), NOTHING),
    ("a node's condition", lab(nodes=[READY, fake.node(2)]), NOTHING),
    ("a pod's address", lab(pods=MOVED), Changes(places=frozenset({"default/b1"}))),
    ("a pod gone", lab(pods=PODS[:2]), Changes(places=frozenset({"default/b1"}))),
    (
        "an endpoint more",
        lab(slices=[fake.endpoints("blue", ["10.244.1.2", "10.244.1.3"]), SLICES[1]]),
        Changes(services=frozenset({"default/blue"})),
    ),
    ("a slice gone", lab(slices=SLICES[:1]), Changes(services=frozenset({"default/red"}))),
    ("a Service more", lab(services=[*SERVICES, fake.service("new")]), Changes(services=frozenset({"default/new"}))),
    ("a node more", lab(nodes=[fake.node(1), fake.node(2), fake.node(3)]), Changes(all=True)),
    ("the lab", lab(labs=[fake.lab(clients=("client", "other"))]), Changes(all=True)),
]


@pytest.mark.parametrize(("after", "changes"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_difference_of_two_lists(after, changes):
    """Only what checks depend on counts: not versions, not conditions of nodes."""
    assert changes == compare(BEFORE, after)


def test_only_checks_of_what_changed_are_concerned():
    """A change of Service blue concerns the checks of blue, one of pod b1 those from and to it."""
    checks = plan(BEFORE)
    of_blue = {c.id for c in checks if Changes(services=frozenset({"default/blue"})).concern(c)}
    of_b1 = {c.id for c in checks if Changes(places=frozenset({"default/b1"})).concern(c)}

    assert of_blue == {c.id for c in checks if c.subject == "default/blue"}
    assert of_b1 == {c.id for c in checks if "default/b1" in c.id.split("/", 1)[1]}
    assert not any(NOTHING.concern(c) for c in checks)


def test_checks_that_are_run_again():
    """New and different checks, and failed ones that a change concerns: nothing that passed, nothing that is merely broken."""
    after = lab(slices=[fake.endpoints("blue", ["10.244.1.2", "10.244.1.3"]), SLICES[1]])
    done = {c.id: c for c in plan(BEFORE)}
    red = next(c.id for c in plan(BEFORE) if c.subject == "default/red")
    again = repeated(plan(after), done, frozenset({red}), compare(BEFORE, after))

    assert again
    assert {"default/blue"} == {c.subject for c in again}


class NoHints(Hints):
    """Hints that a test must not ask for, or counts."""

    def __init__(self):
        self.asked = 0

    def of(self, _check, _observed):
        self.asked += 1
        return ("a hint",)


CHECK = next(c for c in plan(BEFORE) if c.subject == "default/blue" and c.expectation.outcome is Outcome.ALLOWED)


@pytest.mark.parametrize(
    ("changes", "result", "asked"),
    [(Changes(services=frozenset({"default/blue"})), Result.NOT_TESTED, 0), (NOTHING, Result.FAILED, 1)],
)
def test_failure_under_change_is_no_fault(changes, result, asked):
    """What changed again during the repetition is not judged and gets no hints; all other failures do."""
    hints = NoHints()
    _, _, verdict = Repetition(changes=changes).judged(CHECK, Observed(Outcome.DROPPED), hints)

    assert (result, asked) == (verdict.result, hints.asked)


def test_change_saves_no_pass():
    """A check that passed has passed, whatever changed."""
    passing = Check("pod-node", CHECK.source, CHECK.action, Expectation((Outcome.DROPPED,)), "x")
    _, _, verdict = Repetition(changes=Changes(all=True)).judged(passing, Observed(Outcome.DROPPED), NoHints())

    assert Result.PASSED is verdict.result
