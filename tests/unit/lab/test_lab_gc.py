"""What `gc` leaves alone."""

from __future__ import annotations

import pytest

from netlab.lab import containers, gc
from netlab.lab.find import locked
from netlab.runtime.statedir import STATE_ROOT_VARIABLE


def test_a_lab_that_is_being_changed_is_no_leftover(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Its daemon is not on record yet, or not any more: who changes it is named, and its record stays."""
    monkeypatch.setenv(STATE_ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(containers, "orphans", lambda *_: ())
    (tmp_path / "busy").mkdir()
    said: list[str] = []

    with locked("busy", "up"):
        removed = gc.collect(said.append, dry_run=False)

    assert () == removed
    assert (tmp_path / "busy").exists()
    [words] = said
    assert words.startswith("Left alone: lab 'busy' is being changed by netlab up (pid ")
