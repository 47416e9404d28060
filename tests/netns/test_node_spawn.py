from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from netlab.api.pods import Container
from netlab.files import write_whole
from netlab.kernel import mounts
from netlab.node.pods.netns.probes import CommandRunner
from netlab.process import enter, records
from netlab.process.log_files import CONTAINER, read_log
from netlab.process.log_keeper import NAME
from netlab.process.podfiles import ETC_SIZE, Environment, PodFiles
from netlab.process.spawner import ContainerSpec, Exit, ProcessSpec, Spawner
from netlab.state import StateDirectory

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
    yield state
    mounts.unmount_below(state.root)


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
        record = records.read_record(state, "one")
        await _until(out.exists)
        facts = json.loads(out.read_text())
        name = await asyncio.to_thread(_title, pid)
        records.stop([record], PATIENCE)
        end = await asyncio.wait_for(exits.get(), PATIENCE)

    assert (record.pid, facts["netns"]) == (pid, await asyncio.to_thread(_inode, namespace))
    assert facts["files"] == ["/dev/null", str(state.log("one"))]
    assert name == "netlab: nodetest one"
    assert end == Exit("one", pid, 128 + signal.SIGTERM)
    assert records.read_records(state) == ()


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
        records.stop(records.read_records(state), PATIENCE)
        end = await asyncio.wait_for(exits.get(), PATIENCE)

    assert (adopted, missing, end) == (pid, None, Exit("kept", pid, None))
    assert records.read_records(state) == ()


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

        await _until(lambda: text in (read_log(log) or ""))  # the log keeper writes it

    assert end.code == code


@pytest.mark.parametrize(
    ("argv", "code"), [(("sh", "-c", "exit 3"), 3), (("nonsense-command",), 127), (("sh", "-c", "kill -9 $$"), 137)]
)
def test_execute_returns_the_commands_own_code(state, namespace, argv, code):
    """`exec` returns what the command returned, or what a shell would say."""
    hostname = socket.gethostname()
    mounts = Path("/proc/self/mounts").read_text()

    result = enter.execute(namespace, argv, {}, _pod_files(state))

    assert (result, socket.gethostname(), Path("/proc/self/mounts").read_text()) == (code, hostname, mounts)


def test_missing_files_of_etc_are_made_up_in_memory(state, namespace):
    """A machine whose /etc/resolv.conf is a dangling link gets the pod's file all the same, and keeps its link."""
    script = """
import os, sys
from pathlib import Path
from netlab.kernel import libc
from netlab.process import enter
from netlab.process.podfiles import PodFiles
libc.unshare(libc.CLONE_NEWNS)
libc.mount("none", "/", "none", libc.MS_REC | 0x40000)
libc.mount("tmpfs", "/etc", "tmpfs")
os.symlink("/nowhere/resolv.conf", "/etc/resolv.conf")
Path("/etc/passwd").write_text("kept")
code = enter.execute(sys.argv[1], ["cat", "/etc/resolv.conf", "/etc/passwd"], {}, PodFiles(Path(sys.argv[2])))
assert os.readlink("/etc/resolv.conf") == "/nowhere/resolv.conf"
sys.exit(code)
"""
    result = subprocess.run(
        [os.sys.executable, "-c", script, namespace, str(_pod_files(state).folder)], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (0, "nameserver 10.96.0.10\nkept")


def _pod_files(state: StateDirectory) -> PodFiles:
    files = PodFiles(state.pod("uid-1"))
    files.etc.mkdir(parents=True)
    for name, text in {
        "resolv.conf": "nameserver 10.96.0.10\n",
        "hosts": "127.0.0.1 localhost\n",
        "hostname": "blue-pod\n",
    }.items():
        (files.etc / name).write_text(text)
    return files


def _inode(namespace: str) -> str:
    return str(Path(namespace).readlink())


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


async def _until(condition) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 -- a file that appears gives no event
            await asyncio.sleep(0.005)


# ---- logs of commands (finding B4)
SH = ("sh", "-c")


def _command(namespace: str, files: PodFiles, script: str, name: str = "container-c") -> ContainerSpec:
    return ContainerSpec(name, namespace, (*SH, script), str(files.log("main")))


def _log_sizes(files: PodFiles) -> list[int]:
    return [path.stat().st_size for path in files.folder.glob("main.log*")]


async def test_flood_of_output_is_bounded_and_its_end_kept(state, namespace):
    """A command that prints 80 MB leaves 50 MiB at most, in files of 10 MiB, and its last line is there."""
    files = _pod_files(state)
    spawner = Spawner.start(state, ENTRIES)
    async with running(spawner) as exits:
        script = "yes 'hello hello hello hello' | head -c 80000000; echo the end"
        await spawner.spawn_container(_command(namespace, files, script))
        end = await asyncio.wait_for(exits.get(), PATIENCE)
        await _until(lambda: files.log("main").read_bytes().endswith(b"the end\n"))

    sizes = _log_sizes(files)
    assert end.code == 0
    assert (len(sizes), max(sizes) <= CONTAINER.size, sum(sizes) <= CONTAINER.total) == (CONTAINER.files, True, True)


async def test_command_goes_on_when_spawner_or_keeper_is_killed(state, namespace):
    """A killed spawner leaves the keeper; a killed keeper is replaced; no write of the command fails, and no line is lost."""
    files = _pod_files(state)
    script = "for i in $(seq 1000); do echo line $i; sleep 0.01; done; echo end with $?"
    first = Spawner.start(state, ENTRIES)
    first.attach()
    pid = await first.spawn_container(_command(namespace, files, script))
    await _until(lambda: "line 5" in (read_log(files.log("main")) or ""))
    keeper = records.read_record(state, NAME)
    os.kill(first.pid, signal.SIGKILL)
    await first.close()
    second = Spawner.start(state, ENTRIES)
    async with running(second) as exits:
        adopted = second.adopt("container-c", namespace)
        await _until(lambda: "line 100" in (read_log(files.log("main")) or ""))
        kept_on = records.is_alive(keeper)
        records.stop([keeper], 0.0)
        end = await asyncio.wait_for(exits.get(), PATIENCE)
        await _until(lambda: (read_log(files.log("main")) or "").endswith("end with 0\n"))
        another = records.read_record(state, NAME)

    lines = (read_log(files.log("main")) or "").splitlines()
    assert (adopted, end, kept_on) == (pid, Exit("container-c", pid, None), True)
    assert lines == [*(f"line {number}" for number in range(1, 1001)), "end with 0"]
    assert another.pid != keeper.pid
    await _until(lambda: not records.is_alive(another))  # nobody is left to read for


async def test_command_waits_while_there_is_no_keeper(state, namespace):
    """Without a spawner nobody replaces a killed keeper: the command waits with a full pipe, and the next spawner frees it."""
    files = _pod_files(state)
    first = Spawner.start(state, ENTRIES)
    async with running(first):
        await first.spawn_container(_command(namespace, files, "sleep 0.5; head -c 1000000 /dev/zero; echo the end"))
        await _until(lambda: records.read_record(state, NAME))
        await _until(lambda: records.read_record(state, "container-c"))
    records.stop([records.read_record(state, NAME)], 0.0)
    records.strike_off(state, NAME)
    await asyncio.sleep(1)
    waiting = records.is_alive(records.read_record(state, "container-c"))
    second = Spawner.start(state, ENTRIES)
    async with running(second):
        await _until(lambda: (read_log(files.log("main")) or "").endswith("the end\n"))

    assert waiting
    assert len(read_log(files.log("main"))) == 1_000_000 + len("the end\n")


async def test_short_command_leaves_all_its_words(state, namespace):
    """A command that ends before the keeper has looked at its pipe has its words kept."""
    spawner = Spawner.start(state, ENTRIES)
    folders = []
    async with running(spawner) as exits:
        for number in range(20):
            files = PodFiles(state.pod(f"uid-{number}"))
            folders.append(files)
            await spawner.spawn_container(_command(namespace, PodFiles(files.folder), f"echo {number}", f"container-{number}"))
        for _ in range(20):
            await asyncio.wait_for(exits.get(), PATIENCE)
        await _until(lambda: all(read_log(files.log("main")) == f"{n}\n" for n, files in enumerate(folders)))


async def test_probe_that_floods_is_stopped_in_time_and_stores_nothing(state, namespace):
    """The output of an exec probe is for a short message: it is read and dropped, the end kept."""
    files = _pod_files(state)
    spawner = Spawner.start(state, ENTRIES)
    run = SimpleNamespace(files=files, container=Container(name="main"), namespace=namespace, environment=Environment())
    async with running(spawner):
        runner = CommandRunner(spawner, state)
        flood = await runner.probe(run, ("yes",), 0.5)
        failed = await runner.probe(run, (*SH, "yes | head -c 1000000; echo bad luck; exit 3"), 5.0)
        good = await runner.probe(run, ("true",), 5.0)
        await _until(lambda: not records.read_records(state))

    assert (flood.success, flood.message) == (False, "command 'yes' timed out after 0.5s")
    assert (failed.success, failed.message[-11:], good.success) == (False, "y\ny\nbad luck"[-11:], True)
    assert [path.name for path in files.folder.iterdir()] == ["etc"]


async def test_files_of_etc_have_a_size(state, namespace):
    """What a command writes to /etc/hosts ends at 256 KiB, is seen by other commands and `exec`, and leaves with the pod."""
    files = _pod_files(state)
    spawner = Spawner.start(state, ENTRIES)
    async with running(spawner) as exits:
        for name, script in (
            ("container-a", "echo a >> /etc/hosts; cat /dev/zero >> /etc/hosts"),
            ("container-b", "wc -c < /etc/hosts"),
        ):
            spec = ContainerSpec(name, namespace, (*SH, script), str(files.log(name)), files=str(files.folder))
            await spawner.spawn_container(spec)
            await asyncio.wait_for(exits.get(), PATIENCE)
        await _until(lambda: read_log(files.log("container-b")))
    hosts = (files.etc / "hosts").read_bytes()

    assert "No space left on device" in read_log(files.log("container-a"))
    assert int(read_log(files.log("container-b"))) == len(hosts)
    assert len(hosts) <= ETC_SIZE
    assert hosts.startswith(b"127.0.0.1 localhost\na\n")
    assert (files.etc / "hostname").read_text() == "blue-pod\n"
    assert enter.execute(namespace, (*SH, "test $(wc -c < /etc/hosts) -gt 100000"), {}, files) == 0
    mounts.unmount_below(files.folder)
    assert not files.etc.is_mount()
