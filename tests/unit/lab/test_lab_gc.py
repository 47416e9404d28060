"""What `gc` leaves alone."""

from __future__ import annotations

import pytest

from netlab.lab import gc
from netlab.lab.access import docker
from netlab.lab.find import locked
from netlab.state import STATE_ROOT_VARIABLE


@pytest.mark.parametrize(("dry_run", "stays"), [(True, True), (False, False)])
def test_a_lock_that_nobody_holds_is_a_leftover(monkeypatch: pytest.MonkeyPatch, tmp_path, dry_run: bool, stays: bool) -> None:
    """A command that is killed before it has written anything leaves its lock; one that is held, or has a record, stays."""
    root = tmp_path / "root"
    monkeypatch.setenv(STATE_ROOT_VARIABLE, str(root))
    monkeypatch.setattr(docker, "orphans", lambda *_: ())
    with locked("held", "up"):
        (root / ".killed.lock").touch()
        removed = gc.collect(print, dry_run=dry_run)

        assert ("lock of lab killed",) == removed
        assert stays == (root / ".killed.lock").exists()
        assert (root / ".held.lock").exists()


def test_a_lab_that_is_being_changed_is_no_leftover(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Its daemon is not on record yet, or not any more: who changes it is named, and its record stays."""
    monkeypatch.setenv(STATE_ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(docker, "orphans", lambda *_: ())
    (tmp_path / "busy").mkdir()
    said: list[str] = []

    with locked("busy", "up"):
        removed = gc.collect(said.append, dry_run=False)

    assert () == removed
    assert (tmp_path / "busy").exists()
    [words] = said
    assert words.startswith("Skipped: lab 'busy' is being changed by netlab up (pid ")
