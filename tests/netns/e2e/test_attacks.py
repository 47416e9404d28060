"""What people do to labs: kill the command, delete the record, take the names. `down` and `gc` leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from labdriver import COMMAND, ROOT, TIME_LIMIT, TOPOLOGIES, run

from netlab.dataplane.names import namespace_path
from netlab.kernel import namespaces

SMALL = TOPOLOGIES / "cluster-ip.yaml"
# From the lock to a daemon that serves: moments at which nobody but the command knows of the daemon.
MOMENTS = ["lab.json", "pki/server.crt", "logs/daemon.log", "processes/daemon", "store.db", "api.json"]


@pytest.fixture
def foreign(lab):
    """A namespace with the name of the lab's first node, made by somebody else; removed afterwards."""
    path = Path(namespace_path(f"{lab.name}-node1"))
    existed = path.parent.exists()
    namespaces.create([str(path)])
    yield path.name
    namespaces.delete([str(path)])
    if not existed:
        path.parent.rmdir()


def test_foreign_namespace(lab, foreign):
    """A name that is taken is refused at once; nothing is made, the stranger's namespace stays as it was."""
    result = lab.up(SMALL, check=1)

    assert f"not created by lab {lab.name!r}: {foreign}" in result.stderr
    assert not lab.state.exists()
    assert "" == inside(foreign, "ip", "route")
    assert "" == inside(foreign, "nft", "list", "ruleset")


def inside(namespace, *command):
    words = ["ip", "netns", "exec", namespace, *command]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def start_up(lab):
    arguments = [*COMMAND, "up", "--name", lab.name, str(SMALL)]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def wait_for(lab, moment, up):
    while not (lab.state / moment).exists():
        assert up.poll() is None, up.communicate()[1]


@pytest.mark.parametrize("moment", MOMENTS)
def test_command_killed(lab, moment):
    """`up` is killed and cannot roll back: the next one waits its turn, takes over or starts anew, and `down` leaves nothing."""
    up = start_up(lab)
    wait_for(lab, moment, up)
    up.kill()
    up.communicate()

    until_free(lab)
    assert {"pass"} == {check["verdict"] for check in lab.test("--only", "pod-cluster-ip").get("checks")}
    lab.down()


def until_free(lab):
    """Bring the lab up as soon as the daemon that the killed command started has let go of the lock."""
    while (result := lab.up(SMALL, check=None)).returncode:
        assert "is being changed by netlab up" in result.stderr


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_command_interrupted(lab, moment, number):
    """^C and SIGTERM end with 130 and without a trace, the host fixture sees to that."""
    up = start_up(lab)
    wait_for(lab, moment, up)
    up.send_signal(number)
    said = up.communicate(timeout=30)[1]

    assert (130, "interrupted") == (up.returncode, said.splitlines()[-1])
    assert [] == sorted(lab.state.glob("**"))


def test_nobody_reads_what_it_says(lab, unread):
    """`netlab up 2>&1 | head -1`: a reader who has left undoes nothing, and the exit code is that of the work."""

    def unheard(*words):
        done = subprocess.run([*COMMAND, *words], stdout=unread, stderr=unread, check=False, timeout=TIME_LIMIT, cwd=ROOT)
        return done.returncode

    assert 0 == unheard("-v", "up", "--name", lab.name, str(SMALL))
    assert 0 == unheard("status", lab.name)
    assert 0 == unheard("logs", "--lab", lab.name, "daemon")
    assert 0 == unheard("test", "connectivity", lab.name)
    assert 2 == len(lab.status()["nodes"])
    assert 0 == unheard("down", lab.name)
    assert not lab.state.exists()


@pytest.mark.parametrize("piece", ["processes/daemon", "processes", "netns", "api.json", "lab.json", "logs"])
def test_down_after_a_piece_of_the_record_was_deleted(lab, piece):
    """`down` finds by their marks the processes and namespaces that are not on record any more."""
    lab.up(SMALL)
    victim = lab.state / piece
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()

    lab.down()


@pytest.mark.parametrize("piece", ["processes/daemon", "api.json"])
def test_up_after_a_piece_of_the_record_was_deleted(lab, piece):
    """A daemon that cannot be found or reached is replaced, and the new one takes the lab over."""
    lab.up(SMALL)
    (lab.state / piece).unlink()

    lab.up(SMALL)

    assert {"pass"} == {check["verdict"] for check in lab.test("--only", "pod-cluster-ip").get("checks")}
    lab.down()


def test_gc_after_the_record_was_deleted(lab):
    """`gc` finds processes and namespaces of a lab that has no record at all."""
    lab.up(SMALL)
    shutil.rmtree(lab.state)

    removed = run("gc").stdout

    assert f"({lab.name} daemon)" in removed
    assert f"namespace {lab.name}-node1" in removed


def test_daemon_that_hangs(lab):
    """A stopped daemon is told in a sentence after ten seconds, `exec` works without it, and `down` needs no answer."""
    lab.up(SMALL)
    os.kill(lab.pid("daemon"), signal.SIGSTOP)

    lab.exec("node1", "true")
    result = run("status", lab.name, check=1)

    assert "cannot reach" in result.stderr
    lab.down()
