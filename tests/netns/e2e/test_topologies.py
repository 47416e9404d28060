"""Every topology comes up, passes its own connectivity test, and goes down clean."""

from __future__ import annotations

from pathlib import Path

import pytest
from labdriver import TOPOLOGIES

LESSONS = sorted(path.name for path in TOPOLOGIES.glob("*.yaml"))


def test_there_is_one_file_per_lesson():
    """The lessons of the issue are all there."""
    expected = {
        "quickstart", "cluster-ip", "node-port", "load-balancer", "external-name", "headless", "no-selector",
        "session-affinity", "traffic-policy-local", "multi-container", "readiness",
    }  # fmt: skip

    assert expected <= {Path(name).stem for name in LESSONS}


@pytest.mark.parametrize("topology", LESSONS)
def test_lesson(lab, topology):
    """Up, test, down: nothing fails, something was tested, the host is as before (fixture)."""
    lab.up(TOPOLOGIES / topology)
    record = lab.test()
    lab.down()

    verdicts = [check["verdict"] for check in record["checks"]]
    assert {"pass"} == set(verdicts)
    assert len(verdicts) >= 20
