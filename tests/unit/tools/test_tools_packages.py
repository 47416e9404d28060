"""tools/packages, through which everything of ours installs packages of the distribution."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[3] / "tools" / "packages"
SAYS_ITS_ARGUMENTS = '#!/bin/sh\necho apt-get $* >> "$SAID"\n'


@pytest.fixture
def packages(tmp_path):
    """Return what runs the script where `programs` are all there is, and returns its result and what apt-get was told."""

    def run(*arguments, programs=("apt-get",)):
        folder, said = tmp_path / "programs", tmp_path / "said"
        folder.mkdir()
        said.touch()
        for name in programs:
            (folder / name).write_text(SAYS_ITS_ARGUMENTS)
            (folder / name).chmod(0o755)
        (folder / "id").write_text("#!/bin/sh\necho 0\n")
        (folder / "id").chmod(0o755)
        environment = {"PATH": str(folder), "SAID": str(said)}
        result = subprocess.run(["/bin/sh", PACKAGES, *arguments], env=environment, capture_output=True, text=True, check=False)
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
def test_installs(packages, arguments, told):
    """The packages named are installed with one command; without any, nobody is asked."""
    result, said = packages(*arguments)

    assert (0, told) == (result.returncode, said)


def test_without_apt(packages):
    """Where there is no apt-get, what to install is said, and by whom."""
    result, _ = packages("setup", "nftables", "curl", programs=())

    assert 4 == result.returncode
    assert "setup: no apt-get here; please install: nftables curl\n" == result.stderr
