"""What becomes of this folder's tests where they cannot run: an ordinary user is a user namespace without root in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]
ANY_TEST = "tests/netns/test_kernel_links.py::test_missing_namespace_is_named"
ENVIRONMENTS = [
    pytest.param("true", 1, "2 errors", id="in continuous integration"),
    pytest.param("", 0, "2 skipped", id="on a desk"),
]


@pytest.mark.parametrize(("value", "code", "words"), ENVIRONMENTS)
def test_without_root(value: str, code: int, words: str):
    """Where every tier is to be proven, one that cannot run is a failure; elsewhere it is left out, with a reason."""
    command = ["unshare", "--user", sys.executable, "-m", "pytest", ANY_TEST, "-p", "no:cacheprovider"]
    done = subprocess.run(command, env={**os.environ, "CI": value}, capture_output=True, text=True, check=False, cwd=ROOT)

    assert (code, True) == (done.returncode, f"{words} in" in done.stdout), done.stdout
    assert "needs root" in done.stdout
