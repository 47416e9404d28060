"""GitHub's problem matchers: what a runner makes of netlab's lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MATCHERS = json.loads((ROOT / ".github" / "problems.json").read_text())["problemMatcher"]
LINES = [
    ("lab.yaml:3:9: spec.nodes: Required value", ("error", ("lab.yaml", "3", "9", "spec.nodes: Required value"))),
    (
        "note: lab.yaml:30:13: spec.selector: selects no pod",
        ("warning", ("lab.yaml", "30", "13", "spec.selector: selects no pod")),
    ),
    ("error: no lab is running", ("error", ("no lab is running",))),
    ("Lab quickstart is up in 1.1 s: 9 objects.", None),
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_line_becomes_an_annotation(line, expected):
    """A problem is an error at its line, a note a warning at its own, and each line matches one matcher."""
    found = [
        (matcher["severity"], match.groups())
        for matcher in MATCHERS
        if (match := re.search(matcher["pattern"][0]["regexp"], line))
    ]

    assert ([expected] if expected else []) == found


def test_action_removes_every_matcher():
    """The steps that follow the action are not annotated."""
    action = (ROOT / "action.yml").read_text()

    assert all(f"::remove-matcher owner={matcher['owner']}::" in action for matcher in MATCHERS)
