"""A lab goes on record: what a killed command leaves to the next one, and which file stays."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from netlab.api.lab import Lab
from netlab.engine.fake import FakeEngine
from netlab.engine.protocol import LAB_LABEL, Network, NetworkSpec
from netlab.images.base import BASE
from netlab.images.images import wanted_images
from netlab.kernel import namespaces
from netlab.kernel.fake import FakeKernel
from netlab.lab.access.choice import recorded_runtime
from netlab.lab.containers import DockerPreparation
from netlab.lab.recording import record
from netlab.state import StateDirectory
from netlab.topology import Source, load

LAB = """
apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: l}
spec: {runtime: RUNTIME, nodes: 1}
"""


class Killed(BaseException):
    """As SIGKILL: no handler runs."""


class KilledBeforeImages(StateDirectory):
    """The record of a command that is killed before it recorded the images."""

    def create(self) -> None:
        super().create()
        raise Killed


class KilledBeforeNetwork(FakeEngine):
    """The engine of a command that is killed before it made the network."""

    def create_network(self, _spec: NetworkSpec) -> Network:
        raise Killed


class KilledBeforeLab(DockerPreparation):
    """A command that is killed before it recorded the lab."""

    def write_lab(self, _lab: Lab) -> None:
        raise Killed


@pytest.fixture
def kernel() -> FakeKernel:
    """A machine without routes."""
    kernel = FakeKernel()
    kernel.create_namespaces([namespaces.OWN])
    return kernel


@pytest.fixture
def engine() -> FakeEngine:
    """An engine with netlab's images, where another network has the default subnet."""
    engine = with_images(FakeEngine())
    engine.create_network(NetworkSpec("another", "172.30.0.0/16", "172.30.0.1"))
    return engine


def with_images(engine: FakeEngine) -> FakeEngine:
    engine.images = {BASE: {}}
    images = wanted_images(engine.image_id(BASE)).images
    engine.images |= {image.tag: {} for image in images}
    return engine


@pytest.mark.parametrize("at", ["images.json", "network", "lab.json"])
def test_killed_up_leaves_no_lab_without_its_network(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    engine: FakeEngine,
    kernel: FakeKernel,
    at: str,
) -> None:
    """Wherever `up` is killed, the lab of the next one has the addresses that its network has."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    kinds = {"images.json": KilledBeforeImages}
    state = kinds.get(at, StateDirectory)("l", tmp_path)
    asked = with_images(KilledBeforeNetwork()) if at == "network" else engine
    kind = KilledBeforeLab if at == "lab.json" else DockerPreparation
    topology = load([Source("l.yaml", LAB.replace("RUNTIME", "docker"))])
    with pytest.raises(Killed):
        record(state, topology, print, kind(state, partial(nullcontext, asked), kernel))
    left = engine.networks({LAB_LABEL: "l"})
    known_as_docker = recorded_runtime(state) == "docker"
    state = StateDirectory("l", tmp_path)
    again = DockerPreparation(state, partial(nullcontext, engine), kernel)
    recorded = record(state, topology, print, again).lab

    assert (at == "lab.json") is bool(left)
    assert (at != "images.json") is known_as_docker  # so `down` asks the engine
    (network,) = engine.networks({LAB_LABEL: "l"})
    assert (recorded.spec.networking.node_subnet,) == network.subnets
    assert record(state, topology, print, again).lab == recorded


@pytest.mark.parametrize(("runtime", "same_file"), [("docker", True), ("netns", False)])
def test_rewritten_lab_file(
    tmp_path: Path,
    engine: FakeEngine,
    kernel: FakeKernel,
    runtime: str,
    same_file: bool,
) -> None:
    """Containers have the file of their lab mounted, so it stays; others are replaced whole."""
    state = StateDirectory("l", tmp_path)
    topology = load([Source("l.yaml", LAB.replace("RUNTIME", runtime))])
    docker = DockerPreparation(state, partial(nullcontext, engine), kernel)
    preparation = docker if runtime == "docker" else None
    record(state, topology, print, preparation)
    with state.lab_file.open() as before:
        record(state, topology, print, preparation)

        assert Path(f"/proc/self/fd/{before.fileno()}").samefile(state.lab_file) is same_file
