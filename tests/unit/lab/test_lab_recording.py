"""A lab of containers goes on record: what a command that was killed half-way leaves to the next one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from netlab.dataplane.state import NamespaceState
from netlab.lab import containers, recording
from netlab.lab.access.choice import recorded_runtime
from netlab.runtime.docker import LAB_LABEL, NetworkSpec
from netlab.runtime.fake_docker import FakeEngine
from netlab.runtime.statedir import StateDirectory
from netlab.topology import Source, load

LAB = "apiVersion: netlab/v1alpha1\nkind: Lab\nmetadata: {name: l}\nspec: {runtime: docker, nodes: 1}\n"


class Killed(BaseException):
    """As SIGKILL: nothing is put in order behind it."""


@pytest.mark.parametrize("at", ["images.json", "network", "lab.json"])
def test_a_killed_up_leaves_no_lab_without_its_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: str) -> None:
    """The default subnet is taken: whenever `up` was killed, the lab of the next one has the addresses that its network has."""
    engine, state = FakeEngine(), StateDirectory("l", tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    engine.create_network(NetworkSpec("another", "172.30.0.0/16", "172.30.0.1"))
    monkeypatch.setattr(recording, "engine", lambda: contextlib.nullcontext(engine))
    monkeypatch.setattr(containers, "require_images_of", lambda *_: {"node": "netlab/node:1"})
    monkeypatch.setattr(containers.LinuxKernel, "observe", lambda *_: NamespaceState())
    topology = load([Source("l.yaml", LAB)])
    with monkeypatch.context() as first:
        kill_at(at, first, engine)
        with pytest.raises(Killed):
            recording.record(state, topology, print)
    left = [network.name for network in engine.networks({LAB_LABEL: "l"})]
    known_as_docker = recorded_runtime(state) == "docker"
    recorded = recording.record(state, topology, print).lab

    assert (at == "lab.json") is bool(left)
    assert (at != "images.json") is known_as_docker  # so `down` asks the engine
    (network,) = engine.networks({LAB_LABEL: "l"})
    assert (recorded.spec.networking.node_subnet,) == network.subnets
    assert recording.record(state, topology, print).lab == recorded


def kill_at(point: str, monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> None:
    write = recording.write_whole

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(recording, "write_whole", lambda path, content: killed() if path.name == point else write(path, content))
    if point == "network":
        monkeypatch.setattr(engine, "create_network", killed)
