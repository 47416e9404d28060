"""A process is known by when it was started, and only that one is ended."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

import pytest

from netlab.process.identity import children, end, own_start_time, start_time


def test_start_times() -> None:
    """One's own start is what others see of it; a process that is gone has none."""
    assert own_start_time() == start_time(os.getpid())
    with subprocess.Popen(["true"]) as process:
        process.wait()

    assert start_time(process.pid) is None
    assert children(process.pid) == ()


@pytest.mark.parametrize(
    ("command", "later", "patience", "code"),
    [
        pytest.param(["sleep", "60"], 0, 30, -signal.SIGTERM, id="asked"),
        pytest.param(["sh", "-c", "trap '' TERM; echo; sleep 60 & wait; sleep 60"], 0, 0.2, -signal.SIGKILL, id="forced"),
        pytest.param(["sleep", "60"], 1, 0.2, None, id="another with its number"),
    ],
)
def test_end(command, later, patience, code) -> None:
    """A process is asked to end and forced to; one that was started at another time is a stranger."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        if "echo" in command[-1]:
            process.stdout.readline()  # the trap is set
        assert process.pid in children(os.getpid())
        end(process.pid, start_time(process.pid) + later, patience)
        try:
            if code is None:
                assert process.poll() is None
            else:
                assert process.wait(5) == code
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
