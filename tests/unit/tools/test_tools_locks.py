"""The locks: what is installed has a hash, and what several files say is one (finding M10)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from netlab.images.dependencies import DISTRIBUTIONS

ROOT = Path(__file__).parents[3]
LOCKS = ("requirements-dev.lock", "requirements.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTALLS = re.compile(r"^ *install (.*)$", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    """Return the requirements of a lock: name to the rest of the line, hashes included."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==", 1) for line in lines)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_has_a_hash(lock):
    """Pip would refuse the whole file otherwise."""
    assert [] == [name for name, rest in locked(lock).items() if "--hash=sha256:" not in rest]


def test_what_runs_is_what_is_tested():
    """Both locks name the same versions and files; the smaller one has all that netlab and the images need."""
    small, large = locked("requirements.lock"), locked("requirements-dev.lock")
    needed = [re.split(r"[<>=]", line)[0] for line in PROJECT["project"]["dependencies"]]

    assert small.items() <= large.items()
    assert {*needed, *DISTRIBUTIONS, "hatchling"} <= small.keys()
    assert "pytest" not in small


def test_the_build_backend_is_the_locks():
    """Who builds without isolation takes it from the lock, who builds with it gets the same version."""
    (requirement,) = PROJECT["build-system"]["requires"]

    assert [requirement] == PROJECT["dependency-groups"]["build"]
    assert requirement == f"hatchling=={locked('requirements.lock')['hatchling'].split()[0]}"


def test_setup_installs_with_hashes():
    """Every call of pip takes hashes, or brings nothing along; the one exception is a requirement that the user names."""
    calls = INSTALLS.findall((ROOT / "tools" / "setup").read_text())
    bare = [call for call in calls if "--require-hashes" not in call and "--no-deps --no-build-isolation" not in call]

    assert ['-- "$requirement"'] == bare
