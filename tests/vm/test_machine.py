"""The driver of the virtual machine."""

from __future__ import annotations

import subprocess

import pytest
from machine import LIMIT, Machine, MachineError


@pytest.mark.parametrize(
    ("script", "limit", "code", "output"),
    [
        ("exit 3", LIMIT, 3, ""),
        ("echo out; echo err >&2", LIMIT, 0, "out\nerr\n"),
        ("printf '%s' 'ä \"$HOME\" \\'; read -r line || echo 'no input'", LIMIT, 0, 'ä "$HOME" \\no input\n'),
        ("sleep 60", 1, 124, ""),
        ("seq 100000 | sha256sum; seq 100000", LIMIT, 0, None),
    ],
    ids=["exit code", "both outputs", "quotes and input", "a limit", "much output"],
)
def test_run(machine, script, limit, code, output):
    """A script's exit code and all its output come back, and no script outlives its limit."""
    done = machine.run(script, limit)

    assert code == done.code
    assert (output if output is not None else done.output) == done.output
    assert output is not None or 100001 == len(done.output.splitlines())


def test_answers_in_any_order(machine):
    """Scripts run in the order they were sent in; each answer is there for whoever asks."""
    numbers = [machine.send(f"echo {word} >> /tmp/order; cat /tmp/order") for word in ("a", "b")]

    assert ["a\nb\n", "a\n"] == [machine.result(number).output for number in reversed(numbers)]


@pytest.fixture
def broken(tmp_path):
    """A machine that ends as soon as it is started."""
    with (tmp_path / "making.log").open("wb") as log:
        command = ["sh", "-c", "echo no room >&2; exit 3"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0)
    machine = Machine(process, tmp_path)
    yield machine
    machine.stop()


def test_a_machine_that_ends(broken):
    """Whoever waits for an answer of a machine that has ended is told so, with what was said last."""
    broken.process.wait()
    with pytest.raises(MachineError, match=r"ended with exit code 3\nmaking.log: no room"):
        broken.run("true")
