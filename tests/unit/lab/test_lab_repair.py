"""Each file of a lab's record emptied, cut in half, overwritten or removed: read, it says so in a sentence or is rebuilt (M2)."""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import msgspec
import pytest

from netlab.api.lab import Lab, LabSpec
from netlab.api.meta import ObjectMeta
from netlab.api.resources import LABS
from netlab.controlplane.auth import ADMIN, TokenTable, is_token
from netlab.controlplane.certificates import ensure_pki
from netlab.controlplane.kubeconfig import kubeconfig, write_kubeconfig
from netlab.controlplane.store import Store
from netlab.errors import DamagedRecordError, LabError
from netlab.lab import find
from netlab.lab.access.choice import access_for
from netlab.lab.access.interface import AgentState
from netlab.lab.find import connect, daemon_record, locked
from netlab.lab.repair import damaged_access, recorded_lab
from netlab.process import marks
from netlab.process.identity import own_start_time
from netlab.process.launch import _known_port
from netlab.process.log_keeper import pipe_of
from netlab.process.marks import restore_records
from netlab.process.podfiles import PodFiles
from netlab.process.records import DAEMON, ProcessRecord, read_record, write_record
from netlab.state import API_SOCKET, ApiEndpoint, StateDirectory

LAB = Lab(metadata=ObjectMeta(name="demo"), spec=LabSpec())
DAMAGES = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "random": lambda content: random.Random(len(content)).randbytes(max(len(content), 64)),
    "not UTF-8": lambda _: b'{"loopback": "\xff", "metadata": {"name": "\xfe"}}',
    "empty map": lambda _: b"{}",
    "another kind": lambda _: b'["a", 5]',
    "removed": None,
}
damages = pytest.mark.parametrize("damage", DAMAGES)


def damage_file(path, damage):
    if DAMAGES[damage] is None:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The record of a lab whose daemon is this process, with everything that clients need to reach it."""
    monkeypatch.setenv("K8SNETLAB_STATE", str(tmp_path))
    state = StateDirectory.of("demo")
    state.create()
    state.lab_file.write_bytes(msgspec.json.encode(LAB))
    state.api.write_bytes(msgspec.json.encode(ApiEndpoint(40000, "172.30.0.2:6443", os.getpid())))
    token = TokenTable.open(state.tokens, [ADMIN]).ensure(ADMIN)
    ensure_pki(state.pki, ["localhost"])
    write_kubeconfig(
        state.kubeconfig, kubeconfig("demo", "https://127.0.0.1:40000", state.certificate_authority.read_bytes(), token)
    )
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(state.socket(API_SOCKET)))
    store = Store.open(state.store)
    store.put(LABS, LABS.encode(LAB))
    store.close()
    write_record(state, ProcessRecord(DAEMON, os.getpid(), own_start_time()))
    return state


@damages
@pytest.mark.parametrize("name", ["tokens/admin", "api.json", "pki/ca.crt"])
def test_commands_name_the_damaged_file_and_the_way_out(state, name, damage):
    """A command that needs the API server says which file is damaged, and that `up` or `down` helps."""
    damage_file(state.root / name, damage)

    with pytest.raises(LabError) as caught:
        connect(state)

    assert name in caught.value.message or (name, damage) == ("api.json", "removed")
    assert "netlab up FILE" in caught.value.remedy
    assert "netlab down demo" in caught.value.remedy


@damages
@pytest.mark.parametrize("name", ["tokens/admin", "kubeconfig", "pki/ca.crt", "sockets/api"])
def test_damaged_access_is_found(state, name, damage):
    """What a new daemon makes again is found when it is damaged, and nothing when all is whole."""
    assert damaged_access(state) == ()
    path = state.root / name
    if name.startswith("sockets"):
        path.unlink()
        if DAMAGES[damage]:
            path.write_bytes(b"")
    else:
        damage_file(path, damage)

    assert damaged_access(state) == (path,)


@damages
def test_damaged_token_is_replaced_or_written_again(state, damage):
    """A daemon that starts makes another token; one that has it in memory writes it again."""
    running = TokenTable.open(state.tokens, [ADMIN])
    before = running.tokens[ADMIN]
    damage_file(state.admin_token, damage)
    started = TokenTable.open(state.tokens, [ADMIN])

    assert is_token(state.admin_token)
    assert started.tokens[ADMIN] == state.admin_token.read_text() != before
    state.admin_token.write_text("x")
    assert running.ensure(ADMIN) == state.admin_token.read_text() == before


@damages
def test_damaged_endpoint_gives_a_free_port(state, damage):
    """`up` takes the known port if there is one."""
    assert _known_port(state) == 40000
    damage_file(state.api, damage)
    assert _known_port(state) == 0


@damages
def test_damaged_lab_file_is_read_from_the_store(state, monkeypatch, damage):
    """What the lab is says its object, too; without that nothing was made of it yet."""
    monkeypatch.setattr("netlab.lab.repair.daemon_serves", lambda _: False)
    damage_file(state.lab_file, damage)
    known = recorded_lab(state)
    for path in state.root.glob("store.db*"):
        path.unlink()
    Store.open(state.store).close()

    assert known.spec == LAB.spec
    assert recorded_lab(state) is None


def test_damaged_store_is_named(state, monkeypatch):
    """When nothing says what the lab is, one sentence names the file and `netlab down`."""
    monkeypatch.setattr("netlab.lab.repair.daemon_serves", lambda _: False)
    state.lab_file.write_bytes(b"{")
    for path in state.root.glob("store.db*"):
        path.write_bytes(random.Random(1).randbytes(8192))

    with pytest.raises(LabError, match=str(state.store)) as caught:
        recorded_lab(state)
    assert "netlab down" in caught.value.remedy


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"metadata": {}}', b'{"metadata": {"resourceVersion": "x"}}', b"\xff", b"5"]
)
def test_lab_that_is_damaged_in_the_store_too_is_an_error(state, monkeypatch, body):
    """If neither file says what the lab is, one sentence says so; the object is left for the daemon to put aside."""
    monkeypatch.setattr("netlab.lab.repair.daemon_serves", lambda _: False)
    state.lab_file.write_bytes(b"{")
    database = sqlite3.connect(state.store)
    database.execute("UPDATE objects SET body = ?", (body,))
    database.commit()
    database.close()
    with pytest.raises(DamagedRecordError, match=str(state.store)) as caught:
        recorded_lab(state)
    with closing(Store.open(state.store)) as store:
        damaged = [found.key for found in store.damaged()]

    assert "netlab down" in caught.value.remedy
    assert damaged == [("", "demo")]


@damages
def test_record_of_another_kind_is_an_error_with_a_way_out(state, damage):
    """`StateDirectory.read` lets out FileNotFoundError and DamagedRecordError alone."""
    damage_file(state.api, damage)
    with pytest.raises((FileNotFoundError, DamagedRecordError)) as caught:
        state.read(state.api, ApiEndpoint)

    if damage != "removed":
        assert (str(state.api) in caught.value.message, "netlab down demo" in caught.value.remedy) == (True, True)


# ---- processes
@damages
def test_damaged_record_of_a_running_command_is_restored(state, damage):
    """A pod's command is known by the pipe of its log; its child, which has the same output, is not taken for it."""
    files = PodFiles(state.pod("u-1"))
    files.folder.mkdir()
    pipe = pipe_of(files.log("main"))
    os.mkfifo(pipe)
    output = os.open(pipe, os.O_RDWR)
    with subprocess.Popen(["sh", "-c", "sleep 100 & echo; wait"], stdout=output, start_new_session=True) as command:
        os.read(output, 1)
        name = "container-u-1-main"
        write_record(state, ProcessRecord(name, command.pid, 1))
        damage_file(state.processes / name, damage)
        restored = restore_records(state)
        record = read_record(state, name)
        again = restore_records(state)
        os.killpg(command.pid, 9)
    os.close(output)

    assert (restored, record.pid, again) == ((name,), command.pid, ())


@damages
def test_damaged_record_of_an_agent_is_restored(state, damage):
    """A process of the lab is known by title and folder; without its record the daemon would start another."""
    with titled(state, "agent-node1") as pid:
        write_record(state, ProcessRecord("agent-node1", pid, 1))
        damage_file(state.processes / "agent-node1", damage)
        agent = access_for(state, LAB.spec.runtime).agent_state("node1")
        restored = restore_records(state)
        record = read_record(state, "agent-node1")

    assert (agent, restored, record.pid) == (AgentState.RUNNING, ("agent-node1",), pid)


@pytest.mark.parametrize("name", ["spawner", "sockets-node1"])
def test_process_that_ends_with_its_parent_gets_no_record(state, name):
    """A record that nobody strikes off would outlive the process."""
    with titled(state, name):
        assert restore_records(state) == ()


@contextmanager
def titled(state, name):
    """Run a process that stands in the lab's record and has a title; its pid."""
    script = f"import setproctitle, sys; setproctitle.setproctitle('netlab: demo {name}'); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], cwd=state.root, **pipes) as process:
        process.stdout.readline()
        yield process.pid
        process.kill()


@damages
def test_daemon_without_record_is_found(state, monkeypatch, damage):
    """`status` and `gc` do not take a lab for dead whose daemon has lost its record."""
    running = ProcessRecord(DAEMON, os.getpid(), own_start_time())
    monkeypatch.setattr(find, "running_daemon", lambda _: running)
    damage_file(state.processes / DAEMON, damage)

    assert daemon_record(state) == running


def test_no_daemon_is_found_where_none_runs(state):
    """The marks of another lab's processes are not this lab's."""
    assert marks.running_daemon(state) is None


# ---- a full disk
def test_a_lock_without_text_holds_and_names_its_holder(state, monkeypatch):
    """On a full disk a lock has no text: the kernel knows who holds it."""

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(find.os, "write", full)
        lock = locked("demo", "down")
        lock.__enter__()
    with pytest.raises(LabError, match=rf"is being changed by process {os.getpid()}\n"), locked("demo", "up"):
        pass
    lock.__exit__(None, None, None)
    with locked("demo", "up"):
        pass
    assert json.loads((state.processes / DAEMON).read_text())["pid"] == os.getpid()
