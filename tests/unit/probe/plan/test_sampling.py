"""The bounds of sampled checks: a healthy lab fails none of them by chance."""

from __future__ import annotations

import math

import pytest

from netlab.probe.plan import fake
from netlab.probe.plan.checks import STICKY_ATTEMPTS, Expectation, Kind
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.plan import plan
from netlab.probe.plan.sampling import FALSE_ALARM, draws


def missed(chances: list[float], attempts: int) -> float:
    """Return the probability that `attempts` draws miss one of equally likely things, exactly (inclusion-exclusion)."""
    count, chance = len(chances), chances[0]
    terms = ((-1) ** (k + 1) * math.comb(count, k) * max(0.0, 1 - k * chance) ** attempts for k in range(1, count + 1))
    return math.fsum(terms)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 16, 30])
def test_bound_keeps_false_alarms_below_the_limit(count):
    """A healthy Service is called broken with a probability below 1e-10, and the bound is not twice what that needs."""
    chances = [1 / count] * count

    assert missed(chances, draws(chances)) <= FALSE_ALARM
    assert count == 1 or missed(chances, draws(chances) // 2) > FALSE_ALARM  # and is no needless multiple of it


def test_nothing_to_find_takes_one_connection():
    """A single backend is found by the first connection."""
    assert 1 == draws([]) == draws([1.0])


def test_rarest_decides():
    """A backend that gets one connection in a hundred needs many more of them."""
    assert draws([0.5, 0.5, 0.01]) > draws([0.5, 0.5]) * 10


def lab(nodes: int, endpoints: list[str], **spec):
    service = fake.service("blue", clusterIP="10.96.0.20", type="LoadBalancer", ingress="198.51.100.1",
                           ports=[{"port": 80, "targetPort": 80, "nodePort": 30080}], **spec)  # fmt: skip
    pods = [fake.pod(f"p{n}", address) for n, address in enumerate(endpoints)]
    made = fake.cluster(services=[service], slices=[fake.endpoints("blue", endpoints)], pods=pods)
    return fake.snapshot({**made, "nodes": [fake.node(n + 1) for n in range(nodes)]})


def balanced(snapshot) -> Expectation:
    """Return what the client's check of the load balancer expects."""
    found = [c.expectation for c in plan(snapshot) if c.path == "outside-load-balancer" and c.source.kind is Kind.CLIENT]
    return found[0]


def test_one_replica_behind_many_nodes_has_room_for_all_nodes():
    """16 nodes and 1 replica failed in 4 of 7 runs: 40 connections see all 16 nodes in a quarter of the cases."""
    expected = balanced(lab(16, ["10.244.1.2"]))

    assert 16 == len(expected.nodes)
    assert missed([1 / 16] * 16, expected.attempts) <= FALSE_ALARM


def test_backend_chances_follow_the_nodes_under_policy_local():
    """Node 1 has one endpoint, node 2 has two: each node gets half of the connections."""
    expected = balanced(lab(2, ["10.244.1.2", "10.244.2.2", "10.244.2.3"], externalTrafficPolicy="Local"))

    assert {"10.244.1.2:80": 0.5, "10.244.2.2:80": 0.25, "10.244.2.3:80": 0.25} == expected.chances


def test_chances_of_all_checks_add_up_to_one():
    """Every connection gets exactly one of the backends."""
    for check in plan(lab(3, ["10.244.1.2", "10.244.2.2", "!10.244.2.3"])):
        if check.expectation.chances and check.expectation.outcome is Outcome.ALLOWED:
            assert math.isclose(1.0, sum(check.expectation.chances.values()))


def test_affinity_needs_no_sample():
    """Under session affinity the number of connections is fixed."""
    assert STICKY_ATTEMPTS == Expectation((Outcome.ALLOWED,), sticky=True).attempts
