"""What a lab has in the engine goes, all of it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest

from netlab.errors import EngineError
from netlab.lab import containers
from netlab.runtime.docker import LAB_LABEL, ContainerSpec
from netlab.runtime.fake_docker import FakeEngine


class Late(FakeEngine):
    """Goes on with what it was asked for by somebody who is gone: with every removal one of these comes to be."""

    asked: list[str]

    def remove(self, ids: Sequence[str]) -> None:
        super().remove(ids)
        if self.asked:
            self.start([spec(self.asked.pop())])


def spec(name: str, lab: str = "l") -> ContainerSpec:
    return ContainerSpec(name, "image:1", {LAB_LABEL: lab})


@pytest.mark.parametrize("late", [[], ["c"], ["c", "d", "e"]])
def test_what_comes_to_be_while_a_lab_is_removed_goes_too(monkeypatch: pytest.MonkeyPatch, late: list[str]) -> None:
    """The engine is asked until it has nothing of the lab; another lab's is left alone, and the number is that of all."""
    engine = Late(images={"image:1": {}})
    engine.asked = list(late)
    engine.start([spec("a"), spec("b"), spec("other", "other")])
    monkeypatch.setattr(containers, "engine", lambda: contextlib.nullcontext(engine))

    assert containers.remove_containers("l") == 2 + len(late)
    assert [container.name for container in engine.containers({})] == ["other"]


def test_what_will_not_go_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that the engine does not remove is its words, not a question without end."""
    engine = FakeEngine(images={"image:1": {}})
    engine.start([spec("a")])

    def refuse(_ids: Sequence[str]) -> None:
        raise EngineError("the container engine could not remove container a: device or resource busy")

    monkeypatch.setattr(engine, "remove", refuse)
    monkeypatch.setattr(containers, "engine", lambda: contextlib.nullcontext(engine))

    with pytest.raises(EngineError, match="busy"):
        containers.remove_containers("l")
