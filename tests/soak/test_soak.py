"""Ten minutes of a lab under traffic while everything about it changes (`make soak`)."""

from __future__ import annotations

import os

import pytest
from soaking import Soak, picture, report

EVENTS = 5000  # at most, at the end: they expire or are bounded
GROWTH = 1.5  # of the daemon's memory since it was warm, at most
SPARE = 20  # descriptors more than when warm, at most


@pytest.mark.soak
def test_soak(make_lab, tmp_path):
    """No try is lost, nothing grows, and the lab ends as a fresh one."""
    soak = Soak.begin(f"soak{os.getpid()}", tmp_path)
    make_lab(soak.driver.name)  # taken down at the end, whatever happens; the host must be as before
    with soak.traffic() as traffic:
        warm, end = soak.run(float(os.environ["NETLAB_SOAK_SECONDS"]))
    print(report(soak, traffic, warm, end))  # noqa: T201 -- the figures, with pytest -s
    soak.come_to_rest()
    settled = picture(soak.driver.name)
    soak.driver.down()
    fresh = Soak.begin(f"fresh{os.getpid()}", tmp_path)
    make_lab(fresh.driver.name)

    assert {} == traffic.lost()
    assert [] == soak.troubles
    assert picture(fresh.driver.name) == settled
    assert end.events < EVENTS
    assert end.resident["daemon"] < GROWTH * warm.resident["daemon"]
    assert all(end.descriptors[name] <= before + SPARE for name, before in warm.descriptors.items())
