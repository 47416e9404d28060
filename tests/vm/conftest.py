"""Fixtures for tests in a virtual machine: one machine per session, made and started while other tests run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from machine import Machine
from story import STORY, Step

TOOLS = ("qemu-system-x86_64", "mmdebstrap", "/usr/sbin/mke2fs")
MACHINE = pytest.StashKey[Machine]()
TOLD = pytest.StashKey[dict[Step, int]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder: `-m "not vm"` leaves it out."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.vm)


def lacking() -> str:
    """Return why no machine can be had here, as a sentence; empty when it can."""
    if os.geteuid() != 0:
        return "needs root: mmdebstrap makes the machine's disk (run the tests with sudo)"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"{', '.join(missing)} missing: tools/test-tools installs what the tests need" if missing else ""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the machine, and have it begin with its story, when a test that will be run needs it."""
    needed = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "machine" not in needed or lacking() or session.config.option.collectonly:
        return
    machine = session.config.stash[MACHINE] = Machine.start(Path(tempfile.mkdtemp(prefix="netlab-vm-")))
    session.config.stash[TOLD] = {step: machine.send(step.script) for step in (STORY if "told" in needed else ())}


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the machine."""
    if machine := config.stash.get(MACHINE, None):
        machine.stop()
        shutil.rmtree(machine.work)


@pytest.fixture
def machine(pytestconfig: pytest.Config, cannot_run: Callable[[str], NoReturn]) -> Machine:
    """The machine, which may still be starting."""
    if reason := lacking():
        cannot_run(reason)
    return pytestconfig.stash[MACHINE]


@pytest.fixture
def told(pytestconfig: pytest.Config, machine: Machine) -> Callable[[Step], object]:
    """Return what tells how a step of the story ended."""
    return lambda step: machine.result(pytestconfig.stash[TOLD][step])
