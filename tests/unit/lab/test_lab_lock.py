"""A lab's lock: one command changes a lab at a time, and who comes while another leaves finds his way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from netlab.errors import LabBusyError
from netlab.lab.find import locked

COMMANDS = 8
SECONDS = 0.5


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A root of records of the test's own, which is not there when no lab is."""
    monkeypatch.setenv("K8SNETLAB_STATE", str(tmp_path / "labs"))
    return tmp_path / "labs"


def test_the_second_is_told_who_holds_it():
    """The lock names the verb and the process."""
    with locked("demo", "up"), pytest.raises(LabBusyError, match=rf"netlab up \(pid {os.getpid()}\)"), locked("demo", "down"):
        pass


def test_many_come_and_go(root):
    """The last one removes the file and its folder, whatever another does with them: that one has the lock or hears who has."""
    until = time.monotonic() + SECONDS

    def come_and_go(number):
        outcomes = {"held": 0, "busy": 0, "by nobody": 0}
        while time.monotonic() < until:
            try:
                with locked("demo", f"up {number}"):
                    outcomes["held"] += 1
            except LabBusyError as error:
                outcomes["busy" if "netlab up" in error.message else "by nobody"] += 1
        return outcomes

    with ThreadPoolExecutor(COMMANDS) as pool:
        outcomes = list(pool.map(come_and_go, range(COMMANDS)))

    assert sum(outcome["held"] for outcome in outcomes) > 0
    assert sum(outcome["by nobody"] for outcome in outcomes) == 0
    assert not root.exists()


ORPHANED = """
import os, sys, time
from netlab.lab.find import locked
with locked("demo", "up") as descriptor:
    orphan = os.fork()
    if orphan == 0:  # as the daemon that `up` has started: it holds the lock, too
        os.read(0, 1)
        os._exit(0)
    print("held", flush=True)
    os.kill(os.getpid(), 9)
"""


def test_the_lock_of_a_killed_command_is_waited_for():
    """The daemon that the command had started keeps the lock for a moment: the next command waits instead of failing."""
    with subprocess.Popen([sys.executable, "-c", ORPHANED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as command:
        assert command.stdout.readline() == b"held\n"
        command.wait()
        with ThreadPoolExecutor(1) as pool:
            holding = locked("demo", "up")
            second = pool.submit(holding.__enter__)
            with pytest.raises(TimeoutError):
                second.result(0.3)
            command.stdin.close()
            assert second.result(10) > 0
            holding.__exit__(None, None, None)
