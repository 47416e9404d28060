from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from netlab.files import write_whole
from netlab.node import entering, processes
from netlab.node.podfiles import PodFiles
from netlab.node.spawn import ContainerSpec, Exit, ProcessSpec, Spawner
from netlab.runtime.statedir import StateDirectory

pytestmark = pytest.mark.netns

PATIENCE = 30  # seconds for what must come


def _targets() -> set[str]:
    return {str(p.readlink()) for p in tuple(Path("/proc/self/fd").iterdir()) if p.exists()}


def report_entry(arguments: dict[str, str]) -> None:
    """Write down where the process is, then wait for a signal."""
    facts = {"netns": Path("/proc/self/ns/net").readlink().name, "files": sorted(_targets())}
    write_whole(Path(arguments["out"]), json.dumps(facts))
    signal.pause()


def failing_entry(_arguments: dict[str, str]) -> None:
    raise RuntimeError("broken on purpose")


ENTRIES = {"report": report_entry, "failing": failing_entry}


@pytest.fixture
def state(tmp_path):
    state = StateDirectory("nodetest", tmp_path / "nodetest")
    state.create()
    return state


@pytest.fixture
def namespace():
    """A network namespace that lives as long as a sleeping process."""
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        yield f"/proc/{holder.pid}/ns/net"
        holder.kill()


@contextlib.asynccontextmanager
async def running(spawner: Spawner):
    exits: asyncio.Queue[Exit] = asyncio.Queue()
    spawner.attach(exits.put_nowait)
    try:
        yield exits
    finally:
        await spawner.close()


async def test_spawned_entry_runs_recorded_in_its_namespace(state, namespace, tmp_path):
    """A spawned entry has a record, runs inside the namespace and holds no descriptor but the standard streams."""
    out = tmp_path / "facts"
    spawner = Spawner.start(state, ENTRIES)
    async with running(spawner) as exits:
        spec = ProcessSpec("one", "report", {"out": str(out)}, str(state.log("one")), namespace)
        pid = await spawner.spawn(spec)
        record = processes.read_record(state, "one")
        await _until(out.exists)
        facts = json.loads(out.read_text())
        name = await asyncio.to_thread(_title, pid)
        processes.stop([record], PATIENCE)
        end = await asyncio.wait_for(exits.get(), PATIENCE)

    assert (record.pid, facts["netns"]) == (pid, await asyncio.to_thread(_inode, namespace))
    assert facts["files"] == ["/dev/null", str(state.log("one"))]
    assert name == "netlab: nodetest one"
    assert end == Exit("one", pid, 128 + signal.SIGTERM)
    assert processes.read_records(state) == ()


async def test_failing_entry_leaves_traceback_in_log(state):
    """An entry that raises exits 1 and its log says why."""
    spawner = Spawner.start(state, ENTRIES)
    async with running(spawner) as exits:
        await spawner.spawn(ProcessSpec("two", "failing", {}, str(state.log("two"))))
        end = await asyncio.wait_for(exits.get(), PATIENCE)

    assert end.code == 1
    assert "broken on purpose" in state.log("two").read_text()


async def test_children_outlive_the_spawner_and_are_adopted(state, tmp_path):
    """When the daemon goes, the spawner leaves, its children go on, and the next daemon takes them over."""
    first = Spawner.start(state, ENTRIES)
    async with running(first):
        pid = await first.spawn(ProcessSpec("kept", "report", {"out": str(tmp_path / "o")}, str(state.log("kept"))))
    second = Spawner.start(state, ENTRIES)
    async with running(second) as exits:
        adopted = second.adopt("kept", "")
        missing = second.adopt("never-made", "")
        processes.stop(processes.read_records(state), PATIENCE)
        end = await asyncio.wait_for(exits.get(), PATIENCE)

    assert (adopted, missing, end) == (pid, None, Exit("kept", pid, None))
    assert processes.read_records(state) == ()


@pytest.mark.parametrize(
    ("argv", "code", "text"),
    [
        (("sh", "-c", "exit 7"), 7, ""),
        (("/no/such/command",), 127, "executable file not found"),
        (("/etc/hosts",), 126, "ermission denied"),
        (("sh", "-c", "hostname; cat /etc/resolv.conf; echo $COLOUR"), 0, "blue-pod\nnameserver 10.96.0.10\nred\n"),
        (("ls", "/sys/class/net"), 0, "lo\n"),
        (("sh", "-c", "ulimit -n >&2; pwd; kill -TERM $$"), 143, "/tmp\n"),
    ],
)
async def test_container_command(state, namespace, argv, code, text):
    """A command runs with the pod's files, name, network and environment, and its exit code is a shell's."""
    files = _pod_files(state)
    log = files.log("main")
    spawner = Spawner.start(state, ENTRIES)
    async with running(spawner) as exits:
        spec = ContainerSpec("c", namespace, argv, str(log), {"COLOUR": "red"}, str(files.folder), "/tmp")
        await spawner.spawn_container(spec)
        end = await asyncio.wait_for(exits.get(), PATIENCE)

    assert end.code == code
    assert text in log.read_text()


@pytest.mark.parametrize(
    ("argv", "code"), [(("sh", "-c", "exit 3"), 3), (("nonsense-command",), 127), (("sh", "-c", "kill -9 $$"), 137)]
)
def test_execute_returns_the_commands_own_code(state, namespace, argv, code):
    """`exec` returns what the command returned, or what a shell would say."""
    hostname = socket.gethostname()
    mounts = Path("/proc/self/mounts").read_text()

    result = entering.execute(namespace, argv, {}, _pod_files(state))

    assert (result, socket.gethostname(), Path("/proc/self/mounts").read_text()) == (code, hostname, mounts)


def test_missing_files_of_etc_are_made_up_in_memory(state, namespace):
    """A machine whose /etc/resolv.conf is a dangling link gets the pod's file all the same, and keeps its link."""
    script = """
import os, sys
from pathlib import Path
from netlab.kernel import libc
from netlab.node import entering
from netlab.node.podfiles import PodFiles
libc.unshare(libc.CLONE_NEWNS)
libc.mount("none", "/", "none", libc.MS_REC | 0x40000)
libc.mount("tmpfs", "/etc", "tmpfs")
os.symlink("/nowhere/resolv.conf", "/etc/resolv.conf")
Path("/etc/passwd").write_text("kept")
code = entering.execute(sys.argv[1], ["cat", "/etc/resolv.conf", "/etc/passwd"], {}, PodFiles(Path(sys.argv[2])))
assert os.readlink("/etc/resolv.conf") == "/nowhere/resolv.conf"
sys.exit(code)
"""
    result = subprocess.run(
        [os.sys.executable, "-c", script, namespace, str(_pod_files(state).folder)], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (0, "nameserver 10.96.0.10\nkept")


def _pod_files(state: StateDirectory) -> PodFiles:
    files = PodFiles(state.pod("uid-1"))
    files.folder.mkdir(parents=True)
    for name, text in {
        "resolv.conf": "nameserver 10.96.0.10\n",
        "hosts": "127.0.0.1 localhost\n",
        "hostname": "blue-pod\n",
    }.items():
        (files.folder / name).write_text(text)
    return files


def _inode(namespace: str) -> str:
    return str(Path(namespace).readlink())


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


async def _until(condition) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 -- a file that appears gives no event
            await asyncio.sleep(0.005)
