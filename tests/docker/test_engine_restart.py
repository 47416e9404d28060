"""The engine ends and comes back under a running lab: what runs is taken over, the rest comes back, nobody is renumbered."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import pytest
from enginedriver import OwnEngine
from labdriver import TIME_LIMIT, LabDriver

TOPOLOGY = Path(__file__).parent / "hosts.yaml"
CONTAINERS = 9  # fabric, edge, two nodes, a client; two pods of a holder and a container


@pytest.fixture(scope="module")
def engine(tmp_path_factory, image_tags: Mapping[str, str], cannot_run: Callable[[str], NoReturn]) -> Iterator[OwnEngine]:
    """A second engine, with this machine's images."""
    if not shutil.which("dockerd"):
        cannot_run("dockerd is not on this machine's PATH, so no second engine can be started")
    folder = tmp_path_factory.mktemp("engine")
    with contextlib.closing(OwnEngine(folder)) as made:
        if not (made.ready and made.start()):
            cannot_run(f"a second engine did not start: {(folder / 'log').read_text()[-1000:]}")
        made.load(image_tags)
        yield made


@pytest.fixture
def lab(engine: OwnEngine) -> Iterator[LabDriver]:
    """A lab on the second engine; each test has its own, for what has ended twice is held back from starting a third time."""
    driver = LabDriver(f"nte{secrets.token_hex(3)}", inside=engine.inside)
    driver.up(TOPOLOGY)
    yield driver
    driver.down()

    assert engine.docker("ps", "-aq") == ""


def addresses(lab: LabDriver) -> dict[str, str]:
    status = lab.status()
    return {thing["name"]: thing.get("ip") or thing["address"] for kind in ("nodes", "pods") for thing in status[kind]}


def until_nodes_are(lab: LabDriver, status: str) -> None:
    """Wait until `netlab status` says so of every node."""
    deadline = time.monotonic() + TIME_LIMIT
    while {node["status"] for node in lab.status()["nodes"]} != {status}:
        assert time.monotonic() < deadline


def processes(engine: OwnEngine) -> dict[str, str]:
    """The first process of each container that runs."""
    ids = engine.docker("ps", "-q").split()
    return dict(line.split() for line in engine.docker("inspect", "--format", "{{.Id}} {{.State.Pid}}", *ids).splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_what_ended_with_the_engine_comes_back(engine: OwnEngine, lab: LabDriver, number: signal.Signals) -> None:
    """Hosts are started again and pods get new containers: same addresses, nothing twice, every path works when `up` says so.

    Meanwhile a node is Ready as long as its container runs: an engine that is told to end ends it, one that is killed does not.
    """
    before = addresses(lab)
    engine.end(number)
    away = lab.up(TOPOLOGY, check=4)
    until_nodes_are(lab, "NotReady" if number == signal.SIGTERM else "Ready")
    assert engine.start()
    lab.up(TOPOLOGY)

    assert "cannot connect to /" in away.stderr
    assert addresses(lab) == before
    assert len(processes(engine)) == CONTAINERS
    assert lab.test(check=0)["checks"]


def test_with_live_restore_nothing_happens(engine: OwnEngine, lab: LabDriver) -> None:
    """Containers that outlive their engine go on: every path works while it is away, and they are the very same afterwards."""
    engine.end(signal.SIGKILL)
    assert engine.start("--live-restore")
    lab.up(TOPOLOGY)
    before = processes(engine)
    engine.end(signal.SIGTERM)
    assert lab.test(check=0)["checks"]
    assert engine.start("--live-restore")
    lab.up(TOPOLOGY)

    assert processes(engine) == before
