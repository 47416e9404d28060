"""Fixtures for tests with a container engine: it runs, and the images are there.

`tools/engine` installs and starts what is missing (root), as `make test` on a fresh machine needs it; an engine that
answers is used as it is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from netlab.engine.client import DockerEngine
from netlab.images.base import ensure_base
from netlab.images.images import ensure

START = Path(__file__).parents[2] / "tools" / "engine"
PATIENCE = 900  # seconds to install an engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder: `-m "not docker"` leaves it out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session", autouse=True)
def docker_engine(cannot_run: Callable[[str], NoReturn]) -> Iterator[DockerEngine]:
    """The engine of this machine, with the base image."""
    started = subprocess.run([START], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if started.returncode:
        cannot_run(f"no container engine: {started.stderr.strip()}")
    with closing(DockerEngine()) as engine:
        ensure_base(engine, print)
        yield engine


@pytest.fixture(scope="session")
def image_tags(docker_engine: DockerEngine) -> Mapping[str, str]:
    """The tag of each role's image; what is missing is built."""
    return ensure(docker_engine, print)
