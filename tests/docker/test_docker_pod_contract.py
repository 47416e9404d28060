"""The contract of pod runtimes, kept by containers of the machine's engine."""

from __future__ import annotations

import os
from functools import partial

import pytest
from podcontract import PodContract
from podworlds import DockerWorld

from netlab.dataplane.names import namespace_path
from netlab.engine.protocol import LAB_LABEL
from netlab.kernel import mounts
from netlab.kernel.linux import LinuxKernel
from netlab.process.podfiles import ETC_SIZE
from netlab.state import StateDirectory

LAB = f"ntruns{os.getpid()}"


@pytest.fixture
async def world(tmp_path, docker_engine, image_tags):
    state = StateDirectory(LAB, tmp_path / LAB)
    state.create()
    kernel, limit = LinuxKernel(), partial(mounts.limit, size=ETC_SIZE)
    image = image_tags["workloads"]
    world = DockerWorld(state, docker_engine, kernel, workloads=image, limit=limit)
    world.deadline = 90.0
    await world.start()
    yield world
    await world.crash()
    docker_engine.remove([container.id for container in docker_engine.containers({LAB_LABEL: LAB})])
    kernel.delete_namespaces([namespace_path(path.name) for path in state.namespaces.iterdir()])
    mounts.unmount_below(state.root)


class TestDockerPods(PodContract):
    """Needs an engine."""
