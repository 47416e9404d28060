"""`netlab down` and the container engine: what is removed when."""

from __future__ import annotations

from pathlib import Path

import pytest

from netlab.errors import EngineError
from netlab.lab.access.fake import FakeAccess
from netlab.lab.down import Removed, down
from netlab.state import STATE_ROOT_VARIABLE, StateDirectory


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StateDirectory:
    """A lab on record with a log and nothing else."""
    monkeypatch.setenv(STATE_ROOT_VARIABLE, str(tmp_path))
    state = StateDirectory.of("l")
    state.create()
    state.log("daemon").write_text("ready\n")
    return state


def test_containers_go_first_and_last(state: StateDirectory) -> None:
    """A container that starts during `down` is removed, too, then the networks and the record."""
    access = FakeAccess(containers=2, networks=1)

    assert down(state, access) == Removed("l", processes=0, namespaces=0, containers=2)
    assert access.calls == ["remove containers", "remove containers", "remove networks"]
    assert (access.networks, state.root.exists()) == (0, False)


class Refusing(FakeAccess):
    """An engine that removes nothing."""

    def remove_containers(self) -> int:
        raise EngineError("could not remove container a: device or resource busy")


def test_record_stays_until_containers_are_gone(state: StateDirectory) -> None:
    """A second `down` finds what the first could not remove; the large logs are gone."""
    with pytest.raises(EngineError, match="busy"):
        down(state, Refusing())

    assert state.root.exists()
    assert state.recorded_logs() == ()
