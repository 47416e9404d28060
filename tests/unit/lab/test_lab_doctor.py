"""The doctor's words: what is needed, what is optional, and the one command."""

from __future__ import annotations

import pytest

from netlab.errors import UnsupportedHostError
from netlab.kernel.door import NeighbourTable
from netlab.lab.doctor import Finding, engine_finding, neighbour_finding, remedy

AWAY = UnsupportedHostError(
    "cannot connect to /x: connection refused (is the Docker daemon running?)", remedy="Start the engine."
)


@pytest.mark.parametrize(
    ("refusal", "known", "mark", "found", "words"),
    [
        (None, {}, "ok", "running", "A lab can run here."),
        (
            None,
            {"as_root": False},
            "note",
            "running; runtime docker needs root",
            "A lab can run here.\nRuntime docker: sudo netlab up --runtime docker FILE (the group docker is not enough)",
        ),
        (AWAY, {}, "note", AWAY.message, "A lab can run here.\nRuntime docker: Start the engine."),
        (
            AWAY,
            {"installed": False},
            "note",
            "not installed",
            "A lab can run here.\nRuntime docker: apt-get install -y docker.io mmdebstrap",
        ),
    ],
    ids=["runs", "runs, for an ordinary user", "does not run", "not installed"],
)
def test_the_container_engine(refusal, known, mark, found, words):
    """An engine that is missing, away or not enough is told with its remedy, and keeps no lab of runtime netns from running."""
    finding = engine_finding(refusal, **known)

    assert (mark, False, True) == (finding.mark, finding.blocks, finding.found.startswith(found))
    assert words == remedy((finding,))


def test_what_keeps_a_lab_from_running():
    """The table has what was found, in one line; the remedy comes after it, as it is to be typed."""
    finding = Finding("privilege", good=False, found="there is no folder", remedy="export XDG_RUNTIME_DIR=$(mktemp -d)")

    assert "A lab cannot run here: there is no folder.\nexport XDG_RUNTIME_DIR=$(mktemp -d)" == remedy((finding,))


def test_what_is_missing_comes_in_one_command():
    """All packages are named at once, the needed and the useful."""
    missing = [Finding(name, good=False, found="not installed", needed=name == "nft", package=name) for name in ("nft", "curl")]

    assert "Install the missing packages: apt-get install -y nft curl" == remedy(tuple(missing))


@pytest.mark.parametrize(
    ("overflows", "mark", "found"),
    [(0, "ok", "no overflow since the machine booted"), (3, "note", "overflowed 3 times since the machine booted")],
)
def test_the_neighbor_table(overflows, mark, found):
    """An overflow is told with its remedy, and keeps no lab from running (findings P1)."""
    finding = neighbour_finding(NeighbourTable(1024, overflows))

    assert (mark, False, True) == (finding.mark, finding.blocks, found in finding.found)
    assert bool(overflows) == ("gc_thresh3=16384" in finding.found)
    assert "A lab can run here." == remedy((finding,))
