"""What `up` says of a daemon's reports: what is waited for, which objects failed, and that the reports broke off."""

from __future__ import annotations

import json

import pytest

from netlab.errors import LabError
from netlab.lab.converge import TRY_AGAIN, _wait


class Reports:
    """A client whose daemon sends these reports."""

    def __init__(self, *reports):
        self.lines = [json.dumps({"converged": False, "done": 1, "total": 2, "waiting": [], "notes": [], **r}) for r in reports]

    def stream(self, _method, _path, *, timeout):
        assert timeout
        yield from (line.encode() for line in self.lines)


WAITING = {"waiting": ["node node1 to be ready"]}
NOTE = "Service default/bad cannot be read: Expected `array`"


@pytest.mark.parametrize(
    ("reports", "message", "remedy"),
    [
        pytest.param(
            [WAITING, {**WAITING, "notes": [NOTE], "expired": True}],
            "the lab was not ready within 60 s",
            f"  waiting for node node1 to be ready\n  {NOTE}",
            id="time is over",
        ),
        pytest.param(
            [WAITING],
            "the daemon stopped reporting before the lab was ready",
            f"  waiting for node node1 to be ready\n{TRY_AGAIN}",
            id="the reports break off",
        ),
        pytest.param(
            [],
            "the daemon stopped reporting before the lab was ready",
            TRY_AGAIN,
            id="no report",
        ),
    ],
)
def test_wait_tells_apart_a_deadline_and_a_daemon_that_ended(reports, message, remedy):
    """A daemon that ends after 2 seconds is not said to have taken 60 (findings B2)."""
    with pytest.raises(LabError) as failure:
        _wait(Reports(*reports), 60.0, 60.0, lambda _progress: None, look=False)

    assert (failure.value.message, failure.value.remedy) == (message, remedy)


def test_wait_returns_the_notes():
    """What failed for good is told as a note of a lab that is up."""
    client = Reports(WAITING, {"converged": True, "notes": [NOTE]})

    assert _wait(client, 60.0, 60.0, lambda _progress: None, look=False) == (NOTE,)
