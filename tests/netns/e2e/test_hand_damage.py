"""What people break by hand heals: `up` of the same file says so, and every check passes again."""

from __future__ import annotations

import os
from pathlib import Path

import fuzzing
import pytest
from damage import DAMAGES
from labdriver import HostPicture, LabDriver, run

TOPOLOGY = Path(__file__).parent / "damage.yaml"
SAMPLE = [row for row in DAMAGES if row.sample]
TRIED = (SAMPLE + [row for row in DAMAGES if not row.sample])[: fuzzing.cases(len(SAMPLE))]


@pytest.fixture(scope="module")
def broken_lab():
    """One lab for all damages: each must leave it whole."""
    before = HostPicture.take()
    lab = LabDriver(f"t{os.getpid()}")
    try:
        lab.up(TOPOLOGY)
        yield lab
    finally:
        if lab.state.exists():
            run("down", lab.name, check=None)
    assert before == HostPicture.take()


@pytest.mark.fuzz
@pytest.mark.parametrize("damage", TRIED, ids=lambda row: row.name.replace(" ", "-"))
def test_up_heals(broken_lab, damage):
    """After one `up` all checks pass: nothing is left that only time would heal (S4)."""
    damage.do(broken_lab.name, str(broken_lab.state))

    broken_lab.up(TOPOLOGY)

    record = broken_lab.test(check=None)
    assert [] == [(check["id"], check["reasons"]) for check in record["checks"] if check["verdict"] != "pass"][:3]
    assert {"Ready"} == {node["status"] for node in broken_lab.status()["nodes"]}
    assert {"Running"} == {pod["status"] for pod in broken_lab.status()["pods"]}
