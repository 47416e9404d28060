"""Expected against observed: rows of a check, what was seen, and the verdict."""

from __future__ import annotations

import pytest

from netlab.probe.judge.verdict import Result, judge
from netlab.probe.plan.checks import Ask, Check, Encapsulation, Expectation, Kind, Place, Reach, Visit
from netlab.probe.plan.outcome import Outcome
from netlab.probe.run.observed import Hit, Observed
from netlab.probe.run.wire import Packet, Sighting

A = Place(Kind.POD, "default/a", "t-a", "10.244.1.2", "node1")
B = Place(Kind.POD, "default/b", "t-b", "10.244.2.2", "node2")
VISIT = Visit("TCP", "10.96.0.5", 80)
REACH = Reach("TCP", B)
ASK = Ask("UDP", "10.96.0.10", "web.", "A")
ONE, TWO = "10.244.1.2:80", "10.244.2.2:80"
KEPT = frozenset({"10.244.1.2"})
BOTH = {ONE: KEPT, TWO: KEPT}
OUTER = Encapsulation("172.30.1.1", "172.30.1.2", 8472, 1)
OK = Outcome.ALLOWED


def seen(where="node1 eth0", outer=None, answer=False, word="SYN", into=""):
    place, device = where.split()
    packet = Packet("k", "TCP", "10.244.1.2", into or "10.244.2.2", 40000, 80, word, answer, outer)
    return Sighting(place, device, "in" if into else "out", 1, 1, packet, b"")


def hit(backend=ONE, source="10.244.1.2", **more):
    return Hit(backend, source, **more)


ROWS = {
    "all is well": (VISIT, Expectation((OK,), sources=BOTH), Observed(OK, hits=(hit(),)), "pass", OK, ""),
    "expected refusal": (VISIT, Expectation((Outcome.REFUSED,)), Observed(Outcome.REFUSED), "pass", Outcome.REFUSED, ""),
    "expected drop tells where": (
        VISIT, Expectation((Outcome.DROPPED,), ends="node2"), Observed(Outcome.DROPPED, trail=(seen("node2 eth0"),)),
        "pass", Outcome.DROPPED, "last seen at node2 eth0",
    ),
    "a drop that arrived is none": (
        VISIT, Expectation((Outcome.DROPPED,), ends="node2"), Observed(Outcome.DROPPED, trail=(seen("default/b eth0"),)),
        "fail", Outcome.DROPPED, "the request reached default/b",
    ),
    "refused by a pod is not refused by the proxy": (
        VISIT, Expectation((Outcome.REFUSED,), ends="node2"), Observed(Outcome.REFUSED, trail=(seen("default/b eth0"),)),
        "fail", Outcome.REFUSED, "the request reached default/b",
    ),
    "a drop elsewhere is another fault": (
        VISIT, Expectation((Outcome.DROPPED,), ends="node2"), Observed(Outcome.DROPPED, trail=(seen("edge eth0"),)),
        "fail", Outcome.DROPPED, "the request ended at edge; node2 must stop it",
    ),
    "a node's own packets are stopped before any interface": (
        VISIT, Expectation((Outcome.DROPPED,), ends=A.name), Observed(Outcome.DROPPED), "pass", Outcome.DROPPED, "",
    ),
    "a drop that nobody saw is not known": (
        VISIT, Expectation((Outcome.DROPPED,), ends="node2"), Observed(Outcome.DROPPED),
        "not tested", Outcome.NOT_TESTED, "no capture shows where the packet ended",
    ),
    "a node was never chosen": (
        VISIT, Expectation((OK,), sources=BOTH, nodes=frozenset({"node1", "node2"})),
        Observed(OK, attempts=80, hits=(hit(node="node1"),)), "fail", Outcome.WRONG_BACKEND, "the edge never chose node2",
    ),
    "no rule took it": (
        VISIT, Expectation((OK,), sources=BOTH), Observed(Outcome.DROPPED, trail=(seen("node1 cni0", into="10.96.0.5"),)),
        "fail", Outcome.DROPPED, "no rule of node1 translated 10.96.0.5:80",
    ),
    "a question to another node's server": (
        ASK, Expectation((OK,), answers=frozenset({"A 1.2.3.4"}), response_codes=("NOERROR",)),
        Observed(OK, records=frozenset({"A 1.2.3.4"}), response_code="NOERROR", trail=(seen("node2 eth0"),)),
        "fail", Outcome.WRONG_BACKEND, "seen at node2",
    ),
    "dropped": (
        VISIT, Expectation((OK,), sources=BOTH), Observed(Outcome.DROPPED, "no answer", trail=(seen("node2 flannel.1"),)),
        "fail", Outcome.DROPPED, "last seen at node2 flannel.1",
    ),
    "refused by whom": (
        VISIT, Expectation((OK,)), Observed(Outcome.REFUSED, trail=(seen(), seen(answer=True, word="RST"))),
        "fail", Outcome.REFUSED, "RST came from 10.244.1.2",
    ),
    "unexpected success": (VISIT, Expectation((Outcome.DROPPED,), "Local"), Observed(OK), "fail", OK, "expected DROPPED (Local)"),
    "broken probe is not a drop": (
        VISIT, Expectation((Outcome.DROPPED,)), Observed(Outcome.NOT_TESTED, "no namespace"),
        "not tested", Outcome.NOT_TESTED, "no namespace",
    ),
    "foreign backend": (
        VISIT, Expectation((OK,), sources={ONE: KEPT}), Observed(OK, hits=(hit(TWO),)),
        "fail", Outcome.WRONG_BACKEND, "10.244.2.2:80 answered, but only 10.244.1.2:80 may answer",
    ),
    "a backend never answered": (
        VISIT, Expectation((OK,), sources=BOTH, every=True), Observed(OK, attempts=80, hits=(hit(),)),
        "fail", Outcome.WRONG_BACKEND, "10.244.2.2:80 never answered in 80 connections",
    ),
    "a backend was not seen by a blind capture": (
        VISIT, Expectation((OK,), sources=BOTH, every=True), Observed(OK, hits=(hit(),), blind="lost 3 packets"),
        "not tested", Outcome.NOT_TESTED, "lost 3 packets",
    ),
    "never hit itself": (
        VISIT, Expectation((OK,), sources=BOTH, until=TWO), Observed(OK, hits=(hit(),)),
        "fail", Outcome.WRONG_BACKEND, "never answered",
    ),
    "affinity broken": (
        VISIT, Expectation((OK,), sources=BOTH, sticky=True), Observed(OK, hits=(hit(), hit(TWO))),
        "fail", Outcome.WRONG_BACKEND, "session affinity: 2 backends",
    ),
    "another pod says that it answered": (
        VISIT, Expectation((OK,), sources=BOTH), Observed(OK, hits=(hit(pod="x", named="a"),)),
        "fail", Outcome.WRONG_BACKEND, "the response names x",
    ),
    "wrong source": (
        VISIT, Expectation((OK,), sources=BOTH), Observed(OK, hits=(hit(source="172.30.1.1"),)),
        "fail", Outcome.WRONG_SOURCE, "to see 10.244.1.2, but it saw 172.30.1.1: the source was translated",
    ),
    "not masqueraded": (
        VISIT, Expectation((OK,), sources={ONE: frozenset({"10.244.1.1"})}), Observed(OK, hits=(hit(),)),
        "fail", Outcome.WRONG_SOURCE, "it saw 10.244.1.2: not masqueraded",
    ),
    "the workload saw another source": (
        VISIT, Expectation((OK,), sources=BOTH), Observed(OK, hits=(hit(client="9.9.9.9"),)),
        "fail", Outcome.WRONG_SOURCE, "but it reported",
    ),
    "in VXLAN": (
        REACH, Expectation((OK,), sources={"": KEPT}, encapsulation=OUTER),
        Observed(OK, hits=(hit(""),), trail=(seen(outer=OUTER),)), "pass", OK, "",
    ),
    "no VXLAN": (
        REACH, Expectation((OK,), encapsulation=OUTER), Observed(OK, trail=(seen(),)),
        "fail", Outcome.NOT_ENCAPSULATED, "without VXLAN",
    ),
    "other VNI": (
        REACH, Expectation((OK,), encapsulation=OUTER),
        Observed(OK, trail=(seen(outer=Encapsulation("172.30.1.1", "172.30.1.2", 8472, 2)),)),
        "fail", Outcome.NOT_ENCAPSULATED, "VNI 2",
    ),
    "VXLAN on one node": (
        REACH, Expectation((OK,), encapsulation=Encapsulation()), Observed(OK, trail=(seen(outer=OUTER),)),
        "fail", Outcome.NOT_ENCAPSULATED, "left its node",
    ),
    "right answer": (
        ASK, Expectation((OK,), answers=frozenset({"A 1.2.3.4"}), response_codes=("NOERROR",)),
        Observed(OK, records=frozenset({"A 1.2.3.4"}), response_code="NOERROR"), "pass", OK, "",
    ),
    "wrong answer": (
        ASK, Expectation((OK,), answers=frozenset({"A 1.2.3.4"}), response_codes=("NOERROR",)),
        Observed(OK, records=frozenset({"A 9.9.9.9"}), response_code="NOERROR"), "fail", Outcome.DNS_FAILED, "lacks A 1.2.3.4",
    ),
    "NXDOMAIN where NODATA is due": (
        ASK, Expectation((OK,), response_codes=("NOERROR",)), Observed(OK, response_code="NXDOMAIN", authority=True),
        "fail", Outcome.DNS_FAILED, "expected NOERROR, got NXDOMAIN",
    ),
    "NODATA without SOA": (
        ASK, Expectation((OK,), response_codes=("NOERROR",)), Observed(OK, response_code="NOERROR"),
        "fail", Outcome.DNS_FAILED, "SOA",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("action", "expectation", "observed", "result", "actual", "reason"), ROWS.values(), ids=ROWS)
def test_judge(action, expectation, observed, result, actual, reason):
    """Each difference has its word and a sentence."""
    verdict = judge(Check("path", A, action, expectation, "target"), observed)

    assert (Result(result), actual) == (verdict.result, verdict.actual)
    assert reason in "\n".join(verdict.reasons)


def test_unobserved_backend_is_said():
    """A connection whose backend nobody saw passes with a remark, not silently."""
    verdict = judge(Check("path", A, VISIT, Expectation((OK,), sources=BOTH), "t"), Observed(OK, hits=(Hit(),)))

    assert ("the captures do not show which backend answered",) == verdict.reasons
