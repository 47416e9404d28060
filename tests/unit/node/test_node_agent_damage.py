"""When the agent looks at the kernel after it heard of a change: at once, and slower when somebody goes on."""

from __future__ import annotations

import pytest

from netlab.node.agent.damage import Damage

# What happens, as (time, event): h heard, r looked and repaired, n looked and found nothing. Expected: when looks are due.
STORIES = [
    pytest.param([(0, "h")], [0], id="the first change at once"),
    pytest.param([(0, "h"), (0, "h"), (0.05, "h")], [0, None, None], id="one look for all that is heard before it"),
    pytest.param([(0, "h"), (0, "r"), (0.01, "h")], [0, 1], id="a second's pause after a repair"),
    pytest.param([(0, "h"), (0, "n"), (0.01, "h")], [0, 0.1], id="nothing was damaged: looks stay apart only a little"),
    pytest.param([(0, "r"), (1, "h"), (1, "r"), (1.1, "h"), (3, "r"), (3, "h")], [1, 3, 7], id="the pause doubles"),
    pytest.param([(0, "r"), (70, "h"), (70, "r"), (70, "h")], [70, 71], id="a quiet minute is forgiven"),
    pytest.param([*((t, "r") for t in range(0, 300, 30)), (270, "h")], [300], id="never longer than a resync would take"),
    pytest.param([(0, "h"), (0, "n"), (0.5, "n"), (0.5, "h")], [0, 0.6], id="any look counts"),
]


@pytest.mark.parametrize(("events", "expected"), STORIES)
def test_when_to_look(events: list[tuple[float, str]], expected: list[float | None]):
    """Each change heard is answered with the time of the look (semantics 2.22; back-off 1 s to 30 s)."""
    damage = Damage()
    due = []
    for now, event in events:
        if event == "h":
            due.append(damage.heard(now))
        else:
            damage.looked(now, repaired=event == "r")

    assert expected == due


def test_a_look_is_due_once():
    """It is due from its time on, until it was done."""
    damage = Damage()
    damage.looked(10, repaired=True)
    damage.heard(10)
    seen = [damage.is_due(now) for now in (10, 10.9, 10.9999, 12)]
    damage.looked(12, repaired=False)

    assert ([False, False, True, True], False) == (seen, damage.is_due(100))
