"""A node's plane: a part that fails stops no other, is told, and is tried again in time."""

from __future__ import annotations

import logging

import pytest

from netlab.api.coordination import Lease
from netlab.api.meta import ObjectMeta
from netlab.errors import KernelError
from netlab.node.agent.plane import Keeper, Plane

log = logging.getLogger("netlab.test")


class Story:
    """A plane of two parts that fail when told to, and what they were asked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.failing: dict[str, Exception] = {}
        self.left_out: dict[str, Exception] = {}
        self.asked: list[tuple[str, bool]] = []
        parts = (self.part("overlay", "nodes"), self.part("rules", "nodes", "services"))
        self.plane = Plane(parts, log, lambda: self.now)

    def part(self, name: str, *kinds: str) -> Keeper:
        async def keep(look: bool) -> None:
            self.asked.append((name, look))
            if name in self.failing:
                raise self.failing[name]

        return Keeper(name, frozenset(kinds), keep, lambda: self.left_out if name == "rules" else {})

    async def round(self, version: int, *, resync: bool = False) -> bool:
        self.asked.clear()
        versions = {kind: str(version) for kind in ("nodes", "services", "labs")}
        return await self.plane.run(versions, resync=resync)


@pytest.fixture
def story() -> Story:
    return Story()


FAILURES = [KernelError("refused"), RecursionError(), ValueError("Exceeds the limit (4300 digits)"), OSError(98, "in use")]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
async def test_a_part_that_fails_stops_no_other(story: Story, error: Exception):
    """The rules come although the overlay failed; the Lease counts what all have, and names the failure (S2)."""
    await story.round(1)
    story.failing = {"overlay": error}
    done = await story.round(2)

    assert (False, ["overlay", "rules"]) == (done, [name for name, _ in story.asked])
    assert {"labs": "1", "nodes": "1", "services": "2"} == story.plane.synced
    assert ["overlay"] == list(story.plane.problems)
    assert (True, False) == (story.plane.is_failing("overlay"), story.plane.is_failing("rules"))


async def test_nothing_is_synced_before_every_part_has_come_once(story: Story):
    """A node whose overlay never came is not ready (semantics 6.20)."""
    story.failing = {"overlay": KernelError("refused")}
    await story.round(1)
    before = story.plane.synced
    story.failing = {}
    await story.round(2)

    assert ({}, {"labs": "2", "nodes": "2", "services": "2"}) == (before, story.plane.synced)


async def test_a_part_that_failed_is_tried_again_in_time(story: Story):
    """Not every round: when its kinds change, at a resync, or after a delay; then all is well."""
    story.failing = {"overlay": KernelError("refused")}
    await story.round(1)
    await story.round(1)
    quiet = list(story.asked)
    await story.round(2)
    changed = list(story.asked)
    await story.round(2, resync=True)
    looked = list(story.asked)
    story.now += 100
    story.failing = {}
    done = await story.round(2)

    assert ([("rules", False)], ["overlay", "rules"]) == (quiet, [name for name, _ in changed])
    assert [("overlay", True), ("rules", True)] == looked
    assert [("overlay", True), ("rules", False)] == story.asked  # the look that failed is still owed
    assert (True, {}) == (done, story.plane.problems)


async def test_a_look_that_failed_is_not_acknowledged(story: Story):
    """`up` waits for the version of the Lab that asked for a look until every part has looked."""
    await story.round(1)
    story.failing = {"rules": KernelError("refused")}
    await story.round(2, resync=True)

    assert "1" == story.plane.synced["labs"]


async def test_objects_left_out_are_told_once(story: Story, caplog: pytest.LogCaptureFixture):
    """One line when an object is left out, one when it is right again; the part itself has come."""
    caplog.set_level(logging.INFO)
    story.left_out = {"service ns/web": KernelError("spec.clusterIP is 'x'.")}
    for version in (1, 2):
        assert await story.round(version)
    told = story.plane.problems
    story.left_out = {}
    await story.round(3)

    assert {"rules": ["service ns/web: spec.clusterIP is 'x'."]} == told
    assert ["part=rules object='service ns/web' state=left-out", "part=rules object='service ns/web' state=taken-in"] == [
        message.partition(" error=")[0] for message in caplog.messages
    ]


HOSTILE = [
    ("not JSON", ()),
    ('{"a": 5}', ()),
    ('{"a": ["\\u001b[2J\\nx"]}', ("a: ?[2J?x",)),
    ('{"a": ["' + "y" * 5000 + '"]}', ("a: " + "y" * 397,)),
]


@pytest.mark.parametrize(("annotation", "expected"), HOSTILE, ids=range(len(HOSTILE)))
def test_problems_of_a_lease_are_printed_safely(annotation: str, expected: tuple[str, ...]):
    """What a holder writes reaches a terminal: one line, short, without control characters."""
    lease = Lease(metadata=ObjectMeta(annotations={"netlab/problems": annotation}))

    assert expected == lease.problems
