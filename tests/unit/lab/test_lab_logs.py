"""`netlab logs` of a pod: which container is meant."""

from __future__ import annotations

import pytest

from netlab.api.meta import ObjectMeta
from netlab.api.pods import Container, Pod, PodSpec
from netlab.errors import UsageError
from netlab.lab.logs import container_meant

INIT, MAIN, SIDE = (Container(name=name) for name in ("init", "main", "side"))


def pod(*containers: Container) -> Pod:
    spec = PodSpec(init_containers=(INIT,), containers=containers)
    return Pod(metadata=ObjectMeta(name="web", namespace="default"), spec=spec)


@pytest.mark.parametrize(("name", "meant"), [("", "main"), ("main", "main"), ("init", "init")])
def test_container_meant(name: str, meant: str) -> None:
    """A pod with one container needs no name; an init container is named."""
    assert container_meant(pod(MAIN), name) == meant


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", r"has several containers: init, main, side\nChoose one with -c."),
        ("x", r"has no container 'x'\nContainers: init, main, side."),
    ],
)
def test_unclear_container(name: str, words: str) -> None:
    """The message lists the containers to choose from."""
    with pytest.raises(UsageError, match=f"pod default/web {words}"):
        container_meant(pod(MAIN, SIDE), name)
