from __future__ import annotations

import asyncio

import pytest

from netlab.edge.frontends import Check, CheckKind
from netlab.edge.health import PACE, Checker, Health, Pace, pause

ONE, TWO = (Check(CheckKind.TCP, f"172.30.1.{n}", 30080) for n in (1, 2))
ANSWERS = [
    ("never asked", "", False),
    ("first success", "y", True),
    ("first failure", "n", False),
    ("one failure is forgiven", "yn", True),
    ("two are not", "ynn", False),
    ("not in a row", "ynyn", True),
    ("one success suffices", "nnnny", True),
    ("after recovery two again", "ynnyn", True),
]


@pytest.mark.parametrize(("why", "answers", "expected"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_edge_health_of_answers(why, answers, expected):
    """One success makes healthy, two failures in a row make unhealthy."""
    state = Health()
    for answer in answers:
        state = state.after(answer == "y")

    assert expected is state.healthy, why


PAUSES = [(0.0, True, 0.1), (0.5, True, 0.1), (1.5, True, 1.0), (5.0, False, 0.1), (11.0, False, 1.0)]


@pytest.mark.parametrize(("since", "has_backend", "expected"), PAUSES)
def test_edge_pause(since, has_backend, expected):
    """Checks are frequent after a change, and for ten seconds where nobody is healthy."""
    assert expected == pause(since_change=since, has_backend=has_backend)


class Nodes:
    """A probe that answers from a table and counts."""

    def __init__(self) -> None:
        self.up: set[Check] = set()
        self.asked: list[Check] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, check: Check) -> bool:
        self.asked.append(check)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return check in self.up


@pytest.fixture
async def checking(request):
    nodes, changed = Nodes(), asyncio.Event()
    checker = Checker(nodes, changed, getattr(request, "param", PACE))
    yield nodes, changed, checker
    await checker.close()


async def news(changed: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await changed.wait()
    changed.clear()


async def test_edge_checker_asks_at_once(checking):
    """A new check is asked immediately, and what it says is reported."""
    nodes, changed, checker = checking
    nodes.up = {ONE}
    checker.watch({"a": [ONE]})
    before = checker.all_asked
    await news(changed)

    assert (False, True, True) == (before, checker.all_asked, checker.is_healthy(ONE))


@pytest.mark.parametrize("checking", [Pace(interval=60)], indirect=True, ids=["slow"])
async def test_edge_checker_hurry_finds_a_failure(checking):
    """After a change a failed node is found by fast checks, long before its next turn."""
    nodes, changed, checker = checking
    nodes.up = {ONE}
    checker.watch({"a": [ONE]})
    await news(changed)
    nodes.up = set()
    checker.hurry()
    await news(changed)

    assert checker.is_healthy(ONE) is False


async def test_edge_checker_shares_equal_checks(checking):
    """Two Services with the same question ask it once; one that nobody needs any more is dropped."""
    nodes, changed, checker = checking
    nodes.up = {ONE, TWO}
    checker.watch({"a": [ONE], "b": [ONE, TWO]})
    while not checker.all_asked:
        await news(changed)
    first = sorted(check.address for check in nodes.asked)
    checker.watch({"b": [TWO]})

    assert (["172.30.1.1", "172.30.1.2"], False, True) == (first, checker.is_healthy(ONE), checker.is_healthy(TWO))


@pytest.mark.parametrize("checking", [Pace(concurrent_checks=3)], indirect=True, ids=["three"])
async def test_edge_checker_is_bounded(checking):
    """No more questions are open at once than allowed."""
    nodes, changed, checker = checking
    checker.watch({"a": [Check(CheckKind.TCP, "172.30.1.1", port) for port in range(1, 20)]})
    while not checker.all_asked:
        await news(changed)

    assert 3 == nodes.most_at_once
