"""The tutorial, typed as it is printed: every command of every `console` block, in order, on a machine of its own."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TUTORIAL = ROOT / "docs" / "tutorial.md"
TIME_LIMIT = 240  # seconds for the whole tutorial; it takes about twenty
# A machine of its own: labs are named as in the tutorial, and may exist on this one.
MACHINE = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "bash", "-euc")
PREPARE = "mount -t tmpfs tmpfs /run; mkdir /run/netns; ip link set lo up; "
# A forwarded port: wait until the command says where it listens, ask there, end it with ^C.
FORWARD = """
exec 3< <(exec env --default-signal=INT {command}); forward=$!
read -r -t 30 address <&3; curl -sf --max-time 10 "http://$address/" >/dev/null
kill -INT $forward; wait $forward
"""


def commands() -> list[tuple[str, int]]:
    """Return the tutorial's commands with the exit code that each announces."""
    blocks = re.findall(r"^```console\n(.*?)^```", TUTORIAL.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    found = []
    for line in lines:
        command, _, comment = line.partition("  #")
        announced = re.search(r"exit code (\d+)", comment)
        found.append((command.strip(), int(announced[1]) if announced else 0))
    return found


def script() -> str:
    """Return the tutorial as one script that stops at the first command that does not do as announced."""
    steps = []
    for command, code in commands():
        step = FORWARD.format(command=command) if " port-forward " in f" {command}" else command
        steps.append(f"echo '>>>' {code}: {shlex.quote(command)}; rc=0; {{ {step}\n}} || rc=$?; test $rc = {code}")
    return PREPARE + "\n".join(steps)


@pytest.mark.netns
def test_tutorial_works_as_printed(tmp_path):
    """Each command ends with exit code 0, or with the one that its comment announces."""
    (tmp_path / "netlab").write_text(f'#!/bin/sh\nexec {sys.executable} -m netlab "$@"\n')
    (tmp_path / "netlab").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        [*MACHINE, script()],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=TIME_LIMIT,
    )

    assert 0 == done.returncode, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert len(commands()) == done.stdout.count(">>> ")
