"""Every topology comes up, passes its own connectivity test, goes down clean, and what it says one should try works."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from labdriver import TOPOLOGIES

LESSONS = sorted(path.name for path in TOPOLOGIES.glob("*.yaml"))
TRY = "#   netlab exec "


def test_there_is_one_file_per_lesson():
    """The lessons of the issue are all there."""
    expected = {
        "quickstart", "cluster-ip", "node-port", "load-balancer", "external-name", "headless", "no-selector",
        "session-affinity", "traffic-policy-local", "multi-container", "readiness",
    }  # fmt: skip

    assert expected <= {Path(name).stem for name in LESSONS}


@pytest.mark.parametrize("topology", LESSONS)
def test_lesson(lab, topology):
    """Up, test, the commands of its header, down: nothing fails, something was tested, the host is as before (fixture)."""
    lab.up(TOPOLOGIES / topology)
    record = lab.test()
    said = [lab.exec(host, *command).stdout for host, command in tries(topology)]
    lab.down()

    verdicts = [check["verdict"] for check in record["checks"]]
    assert {"pass"} == set(verdicts)
    assert len(verdicts) >= 20
    assert all(said)


def tries(topology):
    """Yield host and command of every `netlab exec` in a topology's header, as a shell reads them."""
    for line in (TOPOLOGIES / topology).read_text().splitlines():
        if line.startswith(TRY):
            host, _, *command = shlex.split(line.removeprefix(TRY), comments=True)
            yield host, command
