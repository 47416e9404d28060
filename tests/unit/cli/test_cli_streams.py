"""Whoever stops reading changes nothing but what he reads; what cannot be written elsewhere is an error, told once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "topologies" / "quickstart.yaml"


@pytest.fixture
def full():
    """A disk without room."""
    with open("/dev/full", "wb") as device:  # noqa: PTH123 -- a device
        yield device


def netlab(*words, state, **streams):
    """Run the command line with a record of its own."""
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "K8SNETLAB_STATE": str(state), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "netlab", *map(str, words)]
    return subprocess.run(command, check=False, env=environment, timeout=60, text=True, **streams)


VERBS = [
    pytest.param(["schema"], 0, id="more than a buffer holds"),
    pytest.param(["validate", QUICKSTART], 0, id="one line"),
    pytest.param(["--help"], 0, id="help"),
    pytest.param(["status", "nemo"], 2, id="an error of netlab"),
    pytest.param(["nonsense"], 2, id="an error of the command line"),
]


@pytest.mark.parametrize(("words", "code"), VERBS)
def test_a_lost_reader_changes_no_exit_code(words, code, unread, tmp_path):
    """Nothing is said about it, on neither stream, and the exit code is that of the work."""
    talk = netlab(*words, state=tmp_path, stdout=unread, stderr=subprocess.PIPE).stderr
    silent = netlab(*words, state=tmp_path, stdout=unread, stderr=unread)

    assert (code, "") == (silent.returncode, "".join(line for line in talk.splitlines() if "pipe" in line or "Traceback" in line))


@pytest.mark.parametrize("words", [["schema"], ["validate", QUICKSTART]], ids=["in the middle", "at the end"])
def test_a_full_disk_is_an_error(words, full, tmp_path):
    """What was to be kept and could not be is told, once, by the name of the stream."""
    done = netlab(*words, state=tmp_path, stdout=full, stderr=subprocess.PIPE)

    assert (4, "error: standard output: No space left on device\n") == (done.returncode, done.stderr)


def test_talk_that_cannot_be_written_is_lost(full, tmp_path):
    """Standard error holds no data: the work goes on."""
    done = netlab("up", "--dry-run", QUICKSTART, state=tmp_path, stdout=subprocess.PIPE, stderr=full)

    assert (0, True) == (done.returncode, "(dry run)" in done.stdout)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_line_is_written_when_it_is_there(unbuffered):
    """Talk does not wait for the end of the process, whatever its environment says of buffers."""
    script = "import os, sys, netlab.cli.streams as s; s.survive_their_readers(); print('talk', file=sys.stderr); os._exit(0)"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([sys.executable, "-c", script], check=False, env=environment, timeout=60, capture_output=True)

    assert b"talk\n" == done.stderr


def test_streams_that_are_not_open(tmp_path):
    """`netlab >&- 2>&-`: what is printed goes nowhere, above all not into a file that netlab opens for itself."""
    words = [sys.executable, "-m", "netlab", "validate", str(QUICKSTART)]
    environment = {"PATH": "/usr/bin:/bin", "K8SNETLAB_STATE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    script = 'exec "$@" >&- 2>&- <&-'
    done = subprocess.run(["sh", "-c", script, "sh", *words], check=False, env=environment, timeout=60, capture_output=True)

    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
