"""The supervisor starts what should run, adopts what does, and restarts what ends, ever more slowly."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import pytest

from netlab.errors import LabError
from netlab.process.identity import start_time
from netlab.process.records import ProcessRecord, is_stopped, write_record
from netlab.process.spawner import Exit, ProcessSpec
from netlab.process.supervisor import LONGEST_DELAY, Account, Supervisor
from netlab.state import StateDirectory


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


async def test_the_end_of_an_earlier_process_is_no_news(tmp_path):
    """The end of a process that has been replaced starts nothing: there would be two of a name."""
    spawner = FakeSpawner()
    supervisor = Supervisor(spawner, StateDirectory("lab", tmp_path))
    await supervisor.converge(specs("agent-a"))

    spawner.end(Exit("agent-a", 99, 0))
    await asyncio.sleep(0)

    assert (["agent-a"], {}) == (spawner.started, supervisor._restarts)


async def test_a_start_that_is_refused_is_tried_again(tmp_path):
    """The spawner may refuse (no process, no memory): the process is wanted all the same."""
    spawner = FakeSpawner()
    supervisor = Supervisor(spawner, StateDirectory("lab", tmp_path))
    await supervisor.converge(specs("agent-a"))
    spawner.restarted.clear()
    succeed, refused = spawner.spawn, asyncio.Event()

    async def refuse(_spec):
        spawner.spawn = succeed
        refused.set()
        raise LabError("Process agent-a could not be started: fork: Resource temporarily unavailable.")

    spawner.spawn = refuse
    spawner.end(Exit("agent-a", 1, 137))
    async with asyncio.timeout(5):
        await refused.wait()
        await spawner.restarted.wait()

    assert ["agent-a", "agent-a"] == spawner.started


async def test_a_fabric_made_again_leaves_no_connection(tmp_path):
    """Who talks to the API server through a fabric that is another one now is ended; workloads do not, and stay (S4)."""
    fabric, other = tmp_path / "fabric", tmp_path / "other"
    fabric.touch()
    state = StateDirectory("lab", tmp_path)
    state.create()
    agent, workloads = (subprocess.Popen(["sleep", "60"]) for _ in range(2))  # noqa: ASYNC220 -- returns at once
    with agent, workloads:
        pids = {"agent-a": agent.pid, "workloads-a": workloads.pid}
        spawner = FakeSpawner()
        spawner.adopt = lambda name, _: pids[name]
        for name, pid in pids.items():
            write_record(state, ProcessRecord(name, pid, start_time(pid)))
        wanted = {n: ProcessSpec(name=n, entry=n.partition("-")[0], arguments={}, log="", namespace=str(tmp_path)) for n in pids}
        supervisor = Supervisor(spawner, state, str(fabric))
        await supervisor.converge(wanted)
        other.touch()  # so that the new file cannot have the old one's inode
        fabric.unlink()
        other.rename(fabric)

        await supervisor.end_homeless()

        assert (-15, None) == (agent.wait(5), workloads.poll())
        workloads.kill()


async def test_what_was_stopped_is_noticed_and_goes_on(tmp_path, caplog):
    """SIGSTOP of an agent is logged once; `resume` has it go on."""
    state = StateDirectory("lab", tmp_path)
    state.create()
    with subprocess.Popen(["sleep", "60"]) as process:  # noqa: ASYNC220 -- returns at once
        spawner = FakeSpawner()
        spawner.adopt = lambda *_: process.pid
        record = ProcessRecord("agent-a", process.pid, start_time(process.pid))
        write_record(state, record)
        supervisor = Supervisor(spawner, state)
        await supervisor.converge(specs("agent-a"))
        assert not is_stopped(record)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # noqa: ASYNC222 -- returns at once
        await supervisor.converge(specs("agent-a"))
        await supervisor.converge(specs("agent-a"))
        noticed = [line for line in caplog.messages if "state=stopped" in line]
        stopped = is_stopped(record)

        supervisor.resume()
        os.waitid(os.P_PID, process.pid, os.WCONTINUED)  # noqa: ASYNC222 -- returns at once

        assert (1, True, False) == (len(noticed), stopped, is_stopped(record))
        process.kill()
