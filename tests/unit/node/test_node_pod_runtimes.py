"""The contract of pod runtimes, kept by the fake and by containers of the fake engine."""

from __future__ import annotations

import pytest
from podcontract import PodContract
from podworlds import FakeEngineWorld, FakeWorld

from netlab.state import StateDirectory


@pytest.fixture(params=[FakeWorld, FakeEngineWorld], ids=["fake", "docker"])
async def world(request, near):
    state = StateDirectory("lab", near)
    state.create()
    world = request.param(state)
    await world.start()
    yield world
    await world.crash()


class TestPodRuntimes(PodContract):
    """Needs no privilege."""
