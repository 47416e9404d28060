"""images/common/keep: the first process of a container that must outlive its program.

It runs here as an ordinary process that is asked to be a reaper, as the first process of a container is one by itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KEEP = Path(__file__).parents[3] / "images" / "common" / "keep"
AS_REAPER = """import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell cannot trap what is ignored when it starts, as in a job in the background
PR_SET_CHILD_SUBREAPER = 36  # prctl(2); kept when another program is executed
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
PATIENCE = 60.0  # seconds


class Kept:
    """`keep sh -c SCRIPT`, and the lines it says."""

    def __init__(self, script: str, programs: Path) -> None:
        """`programs` has those that stand in for the system's."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", AS_REAPER, "sh", KEEP, "sh", "-c", script],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        self.unread = b""

    def line(self) -> str:
        """Return the next line, or fail."""
        while b"\n" not in self.unread:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            said = self.process.stdout.read(4096) if ready else b""
            assert said, "it says nothing"
            self.unread += said
        line, _, self.unread = self.unread.partition(b"\n")
        return line.decode().strip()

    def rest(self) -> str:
        """Return what it says until it ends."""
        return (self.unread + self.process.stdout.read()).decode()

    def children(self) -> list[str]:
        """Return the states of its children (proc(5)): S sleeping, Z a zombie."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended while we looked
                state, parent = path.read_text().rpartition(")")[2].split()[:2]
                found += [state] * (int(parent) == self.process.pid)
        return found


@pytest.fixture
def keep(tmp_path):
    """Return what starts `keep`; it is ended afterwards, its command with it."""
    started: list[Kept] = []

    def start(script: str) -> Kept:
        started.append(Kept(script, tmp_path))
        return started[-1]

    yield start
    for kept in started:
        kept.process.terminate()
        try:
            kept.process.wait(PATIENCE)
        finally:
            kept.process.kill()
            kept.process.stdout.close()


def test_what_ends_is_run_again(keep):
    """A command that ends, or is killed, is run again, and its exit code is told."""
    kept = keep("echo pid $$; exec sleep 60")
    first = int(kept.line().split()[1])
    os.kill(first, signal.SIGKILL)

    said = [kept.line()]
    while not said[-1].startswith("pid"):
        said.append(kept.line())  # the shell may have a word of its own: Killed

    assert "keep: sh ended with exit code 137, starting it again" == said[-2]
    assert first != int(said[-1].split()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_ends_with_its_command(keep, number):
    """TERM and INT reach the command as TERM; `keep` waits for its last words and ends with its exit code."""
    kept = keep("trap 'echo last words; exit 7' TERM; echo ready; while :; do sleep 0.05; done")

    assert "ready" == kept.line()

    kept.process.send_signal(number)

    assert ("last words", 7) == (kept.line(), kept.process.wait(PATIENCE))


def test_it_ends_between_two_runs(keep, tmp_path):
    """A signal in the pause between two runs ends it: nothing is started any more."""
    pause = tmp_path / "sleep"  # one without end
    pause.write_text(f"#!/bin/sh\nexec {shutil.which('sleep')} infinity\n")
    pause.chmod(0o755)
    kept = keep("echo run; exit 3")

    assert "run" == kept.line()
    assert "keep: sh ended with exit code 3, starting it again" == kept.line()

    kept.process.terminate()

    assert (0, False) == (kept.process.wait(PATIENCE), "run" in kept.rest())


def test_orphans_are_reaped(keep):
    """What the command leaves behind becomes a child of `keep`, which does not leave it a zombie."""
    kept = keep("(sleep 0.2; echo orphan gone) & (true &) ; echo ready; wait; exec sleep 60")

    assert {"ready", "orphan gone"} == {kept.line(), kept.line()}

    deadline = time.monotonic() + PATIENCE
    while len(states := kept.children()) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)

    assert (1, False) == (len(states), "Z" in states)


def test_a_command_is_needed():
    """Without a command it says how it is used."""
    done = subprocess.run(["sh", KEEP], capture_output=True, text=True, check=False, timeout=PATIENCE)

    assert (2, True) == (done.returncode, "Usage: keep COMMAND" in done.stderr)
