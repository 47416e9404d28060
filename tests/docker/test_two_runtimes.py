"""One suite, two runtimes: every topology passes the same checks, with the same outcomes, on containers and on namespaces."""

from __future__ import annotations

import json
import re

import pytest
from labdriver import TOPOLOGIES

LESSONS = sorted(path.name for path in TOPOLOGIES.glob("*.yaml"))
SAME = ("path", "source", "target", "protocol", "action", "expected", "expectedBackends", "expectedSources", "expectedAnswers",
        "expectedEnd", "actual", "verdict")  # fmt: skip
ADDRESS = re.compile(r"\b10\.244\.\d+\.\d+\b")


@pytest.mark.parametrize("topology", LESSONS)
def test_the_same_record(lab, topology):
    """Up, test, down on both: what was checked and what came of it does not depend on what hosts and pods are made of."""
    records = {}
    for runtime in ("netns", "docker"):
        lab.up(TOPOLOGIES / topology, "--runtime", runtime)
        records[runtime] = outcomes(lab.test(), {pod["ip"]: pod["name"] for pod in lab.status()["pods"]})
        lab.down()

    assert records["netns"] == records["docker"]
    assert {"pass"} == {check["verdict"] for check, _ in records["docker"].values()}


def outcomes(record, pods):
    """Return what must be the same, by check; pods are named, as which of two gets an address first is chance."""
    text = ADDRESS.sub(lambda found: pods.get(found[0], found[0]), json.dumps(record["checks"]))
    return {check["id"]: ({key: in_order(check.get(key)) for key in SAME}, sources(check)) for check in json.loads(text)}


def in_order(value):
    """Return a value with its lists sorted: they were in the order of addresses."""
    if isinstance(value, dict):
        return {key: in_order(member) for key, member in value.items()}
    return sorted(value) if isinstance(value, list) else value


def sources(check):
    """Return the sources that the server saw, where just one is possible: which of several backends answer is chance."""
    possible = {source for several in check.get("expectedSources", {}).values() for source in several}
    return check.get("sourcesSeen") if len(possible) == 1 else "chance"
