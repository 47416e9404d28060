"""tools/packages, through which everything of ours installs packages of the distribution, and tools/test-tools, which uses it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"
REAL = ("sh", "dirname")
# Says what it is told, and has every package but one.
APT_GET = """#!/bin/sh
echo apt-get "$@" >> "$SAID"
for word; do [ "$word" != "$LACKED" ] || { echo "E: Unable to locate package $word" >&2; exit 100; }; done
"""


@pytest.fixture
def tool(tmp_path):
    """Return what runs a script where `programs` are all there is, and returns its result and what apt-get was told."""

    def run(name, *arguments, apt=True, programs=(), lacked=""):
        folder, said = tmp_path / "programs", tmp_path / "said"
        folder.mkdir()
        said.touch()
        for real in REAL:
            (folder / real).symlink_to(shutil.which(real))
        for program, script in {"id": "echo 0", **dict.fromkeys(programs, ""), **({"apt-get": APT_GET} if apt else {})}.items():
            (folder / program).write_text(f"#!/bin/sh\n{script}\n")
            (folder / program).chmod(0o755)
        environment = {"PATH": str(folder), "SAID": str(said), "LACKED": lacked}
        result = subprocess.run([TOOLS / name, *arguments], env=environment, capture_output=True, text=True, check=False)
        return result, said.read_text()

    return run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["setup"], ""),
        (["setup", "a", "b"], "apt-get update -qq\napt-get install -y -qq --no-install-recommends a b\n"),
    ],
    ids=["nothing is missing", "something is missing"],
)
def test_installs(tool, arguments, told):
    """The packages named are installed with one command; without any, nobody is asked."""
    result, said = tool("packages", *arguments)

    assert (0, told) == (result.returncode, said)


def test_without_apt(tool):
    """Where there is no apt-get, what to install is said, and by whom."""
    result, _ = tool("packages", "setup", "nftables", "curl", apt=False)

    assert 4 == result.returncode
    assert "setup: no apt-get here; please install: nftables curl\n" == result.stderr


MACHINE = ("qemu-system-x86_64", "mmdebstrap")
CANNOT_RUN = "test-tools: tests that need one of these cannot run:"


@pytest.mark.parametrize(
    ("programs", "lacked", "asked", "words"),
    [
        ((*MACHINE, "vagrant"), "", set(), ""),
        (("mmdebstrap",), "", {"qemu-system-x86", "vagrant"}, ""),
        (("mmdebstrap",), "vagrant", {"qemu-system-x86", "vagrant"}, f"{CANNOT_RUN} vagrant\n"),
        (("vagrant",), "mmdebstrap", {"qemu-system-x86", "mmdebstrap", "debian-archive-keyring"},
         f"{CANNOT_RUN} qemu-system-x86 mmdebstrap debian-archive-keyring\n"),
    ],
    ids=["all is there", "all is to be had", "no vagrant", "no mmdebstrap"],
)  # fmt: skip
def test_tools_of_the_tests(tool, programs, lacked, asked, words):
    """What is missing is installed; what cannot be had is told, and keeps nobody from the rest."""
    result, said = tool("test-tools", programs=programs, lacked=lacked)
    installed = {word for line in said.splitlines() if " install " in line for word in line.split()[5:]}

    assert (0, asked) == (result.returncode, installed - {"e2fsprogs"}), result.stderr
    assert result.stderr.endswith(words)
