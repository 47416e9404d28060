"""The doctor's words: what is needed, what is optional, and the one command."""

from __future__ import annotations

import pytest

from netlab.errors import UnsupportedHostError
from netlab.lab.doctor import Finding, engine_finding, remedy

AWAY = UnsupportedHostError("no container engine answers: /x has nobody behind it", remedy="Start the engine.")


@pytest.mark.parametrize(
    ("refusal", "installed", "mark", "found", "words"),
    [
        (None, True, "ok", "answers", "A lab can run here."),
        (AWAY, True, "note", AWAY.message, "A lab can run here.\nRuntime docker: Start the engine."),
        (AWAY, False, "note", "not installed", "A lab can run here.\nRuntime docker: apt-get install -y docker.io mmdebstrap"),
    ],
    ids=["answers", "does not run", "not installed"],
)
def test_the_container_engine(refusal, installed, mark, found, words):
    """An engine that is missing or away is told with its remedy, and keeps no lab of runtime netns from running."""
    finding = engine_finding(refusal, installed=installed)

    assert (mark, False, True) == (finding.mark, finding.blocks, finding.found.startswith(found))
    assert words == remedy((finding,))


def test_what_is_missing_comes_in_one_command():
    """All packages are named at once, the needed and the useful."""
    missing = [Finding(name, good=False, found="not installed", needed=name == "nft", package=name) for name in ("nft", "curl")]

    assert "Install what is missing: apt-get install -y nft curl" == remedy(tuple(missing))
