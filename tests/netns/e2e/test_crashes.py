"""kill -9 of anything at any moment: the data plane goes on, `up` recovers, `down` leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

import pytest
from fuzzing import cases, generator
from labdriver import COMMAND, ROOT, TIME_LIMIT, TOPOLOGIES, Watcher

QUICKSTART = TOPOLOGIES / "quickstart.yaml"
# Files that appear one after the other while a lab comes up: each is a moment to die at.
MOMENTS = [
    "processes/daemon", "store.db", "pki/server.crt", "tokens/admin", "api.json", "netns/{lab}-fabric",
    "netns/{lab}-node3", "processes/edge", "processes/agent-node1", "processes/workloads-node3",
]  # fmt: skip


def passes(lab):
    return {"pass"} == {check["verdict"] for check in lab.test()["checks"]}


@pytest.mark.parametrize("moment", MOMENTS)
def test_daemon_killed_during_up(lab, moment):
    """The daemon dies in the middle of `up`: `up` says so and rolls back; the next `up` brings a good lab."""
    arguments = [*COMMAND, "up", "--name", lab.name, str(QUICKSTART)]
    up = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    path = lab.state / moment.format(lab=lab.name)
    while not path.exists():
        assert up.poll() is None, up.communicate()[1]
    record = lab.state / "processes/daemon"
    while not record.exists():
        assert up.poll() is None
    os.kill(lab.pid("daemon"), signal.SIGKILL)
    stderr = up.communicate(timeout=60)[1]

    assert 1 == up.returncode, stderr
    assert "Traceback" not in stderr
    assert not lab.state.exists()

    lab.up(QUICKSTART)
    assert passes(lab)
    lab.down()


def test_both_killed_during_up(lab):
    """Daemon and command die together, so nobody rolls back: the next `up` takes over what is there."""
    arguments = [*COMMAND, "up", "--name", lab.name, str(QUICKSTART)]
    up = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, cwd=ROOT)
    while not (lab.state / "processes/agent-node1").exists():
        assert up.poll() is None
    up.kill()
    os.kill(lab.pid("daemon"), signal.SIGKILL)
    up.wait()

    lab.up(QUICKSTART)
    assert passes(lab)
    lab.down()


def test_daemon_killed_while_running(lab):
    """Without its daemon the lab's network goes on; `up` adopts it: same processes, same addresses, nothing restarted."""
    lab.up(QUICKSTART)
    before, agent = lab.status(), lab.pid("agent-node1")
    address = lab.service("blue-lb")["externalIP"]
    os.kill(lab.pid("daemon"), signal.SIGKILL)

    lab.exec("client", "curl", "-sf", "-m", "2", f"http://{address}/")
    lab.up(QUICKSTART)

    assert before == lab.status()
    assert agent == lab.pid("agent-node1")
    assert passes(lab)
    lab.down()


@pytest.mark.parametrize("process", ["agent-node1", "edge", "workloads-node1", "spawner"])
def test_process_killed(lab, process):
    """An agent, the edge or a workload server that dies is started again; no rule is lost meanwhile."""
    lab.up(QUICKSTART)
    address = lab.service("blue-lb")["externalIP"]
    pid = lab.pid(process) if process != "spawner" else child_of(lab.pid("daemon"))
    os.kill(pid, signal.SIGKILL)

    if process != "workloads-node1":
        lab.exec("client", "curl", "-sf", "-m", "2", f"http://{address}/")
    lab.up(QUICKSTART)
    assert passes(lab)
    lab.down()


def test_agent_and_daemon_killed(lab):
    """With an agent and the daemon dead at once, `up` waits until the new agent serves: what the old one said is no proof."""
    lab.up(QUICKSTART)
    for process in ("agent-node1", "daemon"):
        os.kill(lab.pid(process), signal.SIGKILL)

    lab.up(QUICKSTART)

    assert passes(lab)


VICTIMS = ("command", "daemon", "agent-node1", "edge", "workloads-node2", "both", "everything")
LONGEST = {"up": 2.5, "change": 1.5, "down": 0.6}  # seconds in which something is killed: a verb takes less on an idle machine


@pytest.mark.fuzz
@pytest.mark.parametrize("case", range(cases(6, most=200)))
def test_killed_at_any_moment(lab, case, editable):
    """Whatever is killed while a lab comes up, changes or goes: the next `up` heals it, and `down` leaves the host as it was."""
    chance = generator(case)
    verb, victim = list(LONGEST)[case % len(LONGEST)], chance.choice(VICTIMS)
    edited = editable("quickstart.yaml")
    if verb != "up":
        lab.up(QUICKSTART)
        edited.write_text(
            edited.read_text().replace("replicas: 4", "replicas: 7").replace("    - {name: node3", "    - {name: node4")
        )
    words = ["down", lab.name] if verb == "down" else ["up", "--name", lab.name, str(edited)]
    command = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    time.sleep(chance.uniform(0, LONGEST[verb]))
    killed = kill(lab, command, victim)
    said = command.communicate(timeout=TIME_LIMIT)[1]

    assert "Traceback" not in said, (verb, victim, said)
    lab.up(QUICKSTART)
    assert passes(lab), (verb, victim, killed)
    lab.down()


def kill(lab, command, victim):
    """Kill the victim, as far as it is there; return the names of what was killed."""
    folder = lab.state / "processes"
    names = sorted(record.name for record in folder.iterdir()) if folder.is_dir() else []
    wanted = {"both": ["daemon"], "everything": ["daemon", *names], "command": []}.get(victim, [victim])
    killed = []
    for name in dict.fromkeys(wanted):
        with contextlib.suppress(OSError, ValueError):  # not there yet, or gone already
            os.kill(lab.pid(name), signal.SIGKILL)
            killed.append(name)
    if victim in {"command", "both", "everything"}:
        command.kill()
    return killed


def child_of(pid):
    return int(
        subprocess.run(["pgrep", "-P", str(pid), "-f", "spawner"], capture_output=True, text=True, check=True).stdout.split()[0]
    )


def test_down_after_everything_was_killed(lab):
    """`down` works from the record alone, with no process of the lab alive."""
    lab.up(QUICKSTART)
    names = {record.name for record in (lab.state / "processes").iterdir()}
    for name in ("daemon", *(names - {"daemon"})):  # the daemon first: it would start the others again
        os.kill(lab.pid(name), signal.SIGKILL)

    lab.down()

    assert not lab.state.exists()


def test_two_labs(make_lab):
    """Two labs at once have the same addresses and never meet."""
    first, second = make_lab(f"a{os.getpid()}"), make_lab(f"b{os.getpid()}")
    first.up(QUICKSTART)
    second.up(QUICKSTART)

    assert first.service("blue")["clusterIP"] == second.service("blue")["clusterIP"]
    assert passes(first)
    assert passes(second)
    first.down()
    assert passes(second)
    second.down()


def test_two_ups_at_once(lab):
    """Of two `up` of one lab at once, one does the work and the other says who has the lock."""
    arguments = [*COMMAND, "up", "--name", lab.name, str(QUICKSTART)]
    both = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    said = [process.communicate(timeout=90)[1] for process in both]

    assert [0, 1] == sorted(process.returncode for process in both), said
    assert any("is being changed by netlab up" in text for text in said)
    assert passes(lab)


def test_no_packet_leaves(lab):
    """A lab's whole life puts no packet of it on the machine's own interfaces."""
    watcher = Watcher()
    lab.up(QUICKSTART)
    lab.test()
    lab.down()
    strays = watcher.strays()
    watcher.close()

    assert [] == strays
