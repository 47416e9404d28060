"""`netlab exec` in a pod: which container a command gets."""

from __future__ import annotations

import pytest

from netlab.api.meta import ObjectMeta
from netlab.api.pods import Container, Pod, PodSpec
from netlab.errors import UsageError
from netlab.lab.access.fake import FakeAccess
from netlab.lab.execute import run_in_pod

CONTAINERS = (Container(name="main"), Container(name="side"))
POD = Pod(metadata=ObjectMeta(name="web", namespace="default"), spec=PodSpec(containers=CONTAINERS))


@pytest.mark.parametrize(("container", "meant"), [("", "main"), ("side", "side")])
def test_container_of_a_command(container: str, meant: str) -> None:
    """The first container runs the command unless the user names another; its exit code returns."""
    access = FakeAccess(run=lambda _where, _command: 3)

    assert run_in_pod(access, POD, ["ip", "route"], container) == 3
    assert access.calls == [f"default/web {meant}: ip route"]


def test_unknown_container_runs_nothing() -> None:
    """An unknown container is named with those that the pod has."""
    access = FakeAccess()
    words = r"pod default/web has no container 'x'\nContainers: main, side"
    with pytest.raises(UsageError, match=words):
        run_in_pod(access, POD, ["true"], "x")

    assert access.calls == []
