"""The supervisor starts what should run, adopts what does, and restarts what ends, ever more slowly."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from netlab.daemon.supervisor import LONGEST_DELAY, Account, Supervisor
from netlab.errors import LabError
from netlab.node.processes import ProcessRecord, write_record
from netlab.node.spawn import Exit, ProcessSpec
from netlab.runtime.identity import start_time
from netlab.runtime.statedir import StateDirectory


class FakeSpawner:
    """Counts starts; `running` are processes of an earlier daemon."""

    def __init__(self, running=()):
        self.running = set(running)
        self.started = []
        self.restarted = asyncio.Event()

    async def spawn(self, spec):
        self.started.append(spec.name)
        self.restarted.set()
        return 1

    def adopt(self, name, namespace):  # noqa: ARG002 -- the spawner's signature
        return 1 if name in self.running else None

    def subscribe(self, listener):
        self.end = listener


def specs(*names):
    return {name: ProcessSpec(name=name, entry="agent", arguments={}, log="") for name in names}


async def test_starts_and_adopts(tmp_path):
    """A process of an earlier daemon is left alone, a missing one is started, once."""
    spawner = FakeSpawner(running={"agent-b"})
    supervisor = Supervisor(spawner, StateDirectory("lab", tmp_path))

    await supervisor.converge(specs("agent-a", "agent-b"))
    await supervisor.converge(specs("agent-a", "agent-b"))

    assert ["agent-a"] == spawner.started


async def test_restarts_what_ends(tmp_path):
    """A wanted process that ends is started again; one nobody wants is not."""
    spawner = FakeSpawner()
    supervisor = Supervisor(spawner, StateDirectory("lab", tmp_path))
    await supervisor.converge(specs("agent-a"))
    spawner.restarted.clear()

    spawner.end(Exit("agent-a", 1, 137))
    spawner.end(Exit("stranger", 2, 0))
    async with asyncio.timeout(5):
        await spawner.restarted.wait()

    assert ["agent-a", "agent-a"] == spawner.started


async def test_ends_what_lost_its_namespace(tmp_path):
    """A process whose network namespace was removed and made anew is ended, and so started again in the new one."""
    home, other = tmp_path / "node1", tmp_path / "other"
    home.touch()
    state = StateDirectory("lab", tmp_path)
    state.create()
    with subprocess.Popen(["sleep", "60"]) as process:  # noqa: ASYNC220 -- returns at once
        spawner = FakeSpawner(running={"agent-a"})
        spawner.adopt = lambda *_: process.pid
        write_record(state, ProcessRecord("agent-a", process.pid, start_time(process.pid)))
        wanted = {"agent-a": ProcessSpec(name="agent-a", entry="agent", arguments={}, log="", namespace=str(home))}
        supervisor = Supervisor(spawner, state)
        await supervisor.converge(wanted)
        assert process.poll() is None

        other.touch()  # so that the new file cannot have the old one's inode
        home.unlink()
        other.rename(home)
        await supervisor.converge(wanted)

        assert -15 == process.wait(5)


@pytest.mark.parametrize(("deaths", "delay"), [(1, 0.0), (2, 0.5), (3, 1.0), (5, 4.0), (20, LONGEST_DELAY)])
def test_delays(deaths, delay):
    """The first restart is at once, later ones wait twice as long each."""
    account = Account(started=0.0)

    delays = [account.delay(now=1.0) for _ in range(deaths)]

    assert delay == delays[-1]


def test_a_minute_of_life_is_forgiven():
    """A process that ran well for a minute starts again at once."""
    account = Account(deaths=9, started=0.0)

    assert account.delay(now=61.0) == 0.0


async def test_start_is_of_who_runs(tmp_path):
    """The supervisor knows when the process under a name was started, and that none runs after it has ended."""
    spawner = FakeSpawner()
    supervisor = Supervisor(spawner, StateDirectory("lab", tmp_path))
    await supervisor.converge(specs("agent-a"))
    before = supervisor.starts("agent-a")

    spawner.end(Exit("agent-a", 1, 137))

    assert ((start_time(1),), ()) == (before, supervisor.starts("agent-a"))


async def test_a_start_that_breaks_is_tried_again(tmp_path, caplog):
    """A restart that the spawner refuses is logged, and made again as after an end."""
    spawner = FakeSpawner()
    supervisor = Supervisor(spawner, StateDirectory("lab", tmp_path))
    await supervisor.converge(specs("agent-a"))
    spawn, spawner.refusals = spawner.spawn, 1

    async def refusing(spec):
        if spawner.refusals:
            spawner.refusals -= 1
            raise LabError("Process agent-a could not be started: fork.")
        return await spawn(spec)

    spawner.spawn = refusing
    spawner.restarted.clear()
    spawner.end(Exit("agent-a", 1, 137))
    async with asyncio.timeout(5):
        await spawner.restarted.wait()

    assert spawner.started == ["agent-a", "agent-a"]
    assert any("not started: Process agent-a could not be started" in record.getMessage() for record in caplog.records)
