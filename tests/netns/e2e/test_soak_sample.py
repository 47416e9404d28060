"""A quarter of a minute of the soak (tests/soaking.py), so that it works when `make soak` runs it for ten minutes."""

from __future__ import annotations

import os

from soaking import Soak, picture, report

SECONDS = 15


def test_soak_sample(make_lab, tmp_path):
    """No try is lost while everything changes, and the lab comes to rest with rules for its three nodes."""
    soak = Soak.begin(f"sample{os.getpid()}", tmp_path)
    make_lab(soak.driver.name)
    with soak.traffic() as traffic:
        warm, end = soak.run(SECONDS)
    print(report(soak, traffic, warm, end))  # noqa: T201 -- the figures, with pytest -s
    soak.come_to_rest()
    found = picture(soak.driver.name)

    assert {} == traffic.lost()
    assert [] == soak.troubles
    assert {2} == {len(lines) for name, lines in found.items() if name.endswith("fdb")}
