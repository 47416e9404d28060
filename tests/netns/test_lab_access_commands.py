"""The contract of `HostAccess` about commands, which needs namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from accessworlds import NetnsWorld, World, named_pod, world_of

from netlab.api.pods import PodSpec
from netlab.process.podfiles import Environment, PodFiles

POD = named_pod()
HOST_SPEC = PodSpec(host_network=True, node_name="node1")
HOST_POD = msgspec.structs.replace(POD, spec=HOST_SPEC)


@pytest.fixture(params=["netns", "docker", "fake"])
def world(request, prefix: str, tmp_path: Path, make_namespace) -> Iterator[World]:
    """A lab with node1 and a pod, behind each implementation."""
    with world_of(request.param, prefix, tmp_path) as world:
        if isinstance(world, NetnsWorld):
            make_namespace("node1")
            make_namespace("default-web")
        world.start_agent("node1", "")
        world.start_container(POD, "main", "")
        yield world


def test_exit_code(world: World) -> None:
    """The exit code is that of the command, on a host and in a pod."""
    assert world.access.run_on_host("node1", ["sh", "-c", "exit 7"]) == 7
    assert world.access.run_in_pod(POD, "main", ["sh", "-c", "exit 8"]) == 8


def test_place_and_environment(prefix: str, tmp_path: Path, make_namespace, capfd) -> None:
    """A command has the network of its host or pod, in a pod also the container's environment."""
    with world_of("netns", prefix, tmp_path) as world:
        hosts = [make_namespace("node1"), make_namespace("default-web")]
        world.start_container(POD, "main", "")
        stored = PodFiles(world.state.pod(POD.metadata.uid)).environment("main")
        stored.write_bytes(msgspec.json.encode(Environment(declared={"COLOR": "blue"})))
        command = ["sh", "-c", "stat -Lc %i /proc/self/ns/net; echo ${COLOR:-none}"]

        codes = [
            world.access.run_on_host("node1", command),
            world.access.run_in_pod(POD, "main", command),
            world.access.run_in_pod(HOST_POD, "main", command),
        ]

    node, pod = (str(Path(path).stat().st_ino) for path in hosts)
    assert codes == [0, 0, 0]
    assert capfd.readouterr().out.split() == [node, "none", pod, "blue", node, "blue"]
