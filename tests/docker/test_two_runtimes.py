"""One suite, two runtimes: every topology passes the same checks, with the same outcomes, on containers and on namespaces."""

from __future__ import annotations

import pytest
from labdriver import TOPOLOGIES

LESSONS = sorted(path.name for path in TOPOLOGIES.glob("*.yaml"))
SAME = ("path", "source", "target", "protocol", "action", "expected", "expectedBackends", "expectedSources", "expectedAnswers",
        "expectedEnd", "actual", "verdict")  # fmt: skip


@pytest.mark.parametrize("topology", LESSONS)
def test_the_same_record(lab, topology):
    """Up, test, down on both: what was checked and what came of it is the same, to the addresses of pods."""
    records = {}
    for runtime in ("netns", "docker"):
        lab.up(TOPOLOGIES / topology, "--runtime", runtime)
        records[runtime] = outcomes(lab.test())
        lab.down()

    assert records["netns"] == records["docker"]
    assert {"pass"} == {check["verdict"] for check, _ in records["docker"].values()}


def outcomes(record):
    """Return what must be the same, by check."""
    return {check["id"]: ({key: check.get(key) for key in SAME}, sources(check)) for check in record["checks"]}


def sources(check):
    """Return the sources that the server saw, where just one is possible: which of several backends answer is chance."""
    possible = {source for several in check.get("expectedSources", {}).values() for source in several}
    return check.get("sourcesSeen") if len(possible) == 1 else "chance"
