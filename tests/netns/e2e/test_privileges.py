"""What the processes of a running lab may do, as the kernel says (/proc/<pid>/status), by kind of process (finding M9)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from netlab.api.capabilities import DEFAULT, NUMBERS
from netlab.daemon.main import CAPABILITIES
from netlab.process.podfiles import PodFiles

pytestmark = pytest.mark.netns

LAB = """\
apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: x}
spec: {nodes: 1, clients: [{name: client}], loadBalancer: {pool: 198.51.100.0/28}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {containers: [{name: c, image: nginx}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: plain}, spec: {containers: [{name: c, image: x, command: [sleep, infinity],
  readinessProbe: {exec: {command: [grep, -q, "CapEff:.00000000a80425fb", /proc/self/status]}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: more}, spec: {containers: [{name: c, image: x, command: [sleep, infinity],
  securityContext: {capabilities: {add: [NET_ADMIN], drop: [MKNOD]}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: none}, spec: {containers: [{name: c, image: x, command: [sleep, infinity],
  securityContext: {capabilities: {drop: [ALL]}}}]}}
"""
FILTERED = 2  # /proc/<pid>/status, Seccomp
EXPECTED = {  # capabilities, no_new_privs, seccomp
    "daemon": (set(CAPABILITIES), 1, 0),
    "spawner": (set(CAPABILITIES), 1, 0),
    "agent-node1": ({"NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"}, 1, FILTERED),
    "edge": ({"NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"}, 1, FILTERED),
    "workloads-node1": (set(), 1, FILTERED),
    "log-keeper": (set(), 1, FILTERED),
    "sockets-node1": ({"NET_BIND_SERVICE", "SYS_ADMIN"}, 1, FILTERED),
    "pod plain": (set(DEFAULT), 1, FILTERED),
    "pod more": ({*DEFAULT, "NET_ADMIN"} - {"MKNOD"}, 1, FILTERED),
    "pod none": (set(), 1, FILTERED),
}
SETS = ("CapEff", "CapPrm", "CapBnd")


def named(bits: str) -> set[str]:
    """Return the names of a set of capabilities."""
    return {name for name, number in NUMBERS.items() if int(bits, 16) >> number & 1}


def titles(lab: str) -> dict[str, int]:
    """Return the pids of a lab's own processes, by the last word of what ps shows."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            words = (entry / "cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace") if entry.name.isdecimal() else ""
            if words.startswith(f"netlab: {lab} "):
                found[words.split()[-1]] = int(entry.name)
    return found


def runs(pid: int) -> bool:
    """Tell whether a process is there and has not ended: what nobody has waited for has no command line."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and bool(path.read_bytes())


def privileges(lab: str, commands: dict[str, int]) -> dict[str, object]:
    """Return what the processes of a lab may do, by title; `commands` are the pids of pods' commands."""
    pids = {**titles(lab), **{f"pod {name}": pid for name, pid in commands.items()}}
    return {name: _of(pid) for name, pid in pids.items()}


def _of(pid: int) -> object:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    sets = [named(values[name]) for name in SETS]
    assert all(one == sets[0] for one in sets), f"process {pid} could gain what it does not have: {values}"
    assert not int(values["CapInh"], 16) | int(values["CapAmb"], 16)
    return sets[0], int(values["NoNewPrivs"]), int(values["Seccomp"])


def commands_of(state: Path) -> dict[str, int]:
    """Return the pids of pods' commands by the names of their pods, from a lab's record."""
    found = {}
    for record in (state / "processes").glob("container-*"):
        uid = record.name.removeprefix("container-").removesuffix("-c")
        found[(PodFiles(state / "pods" / uid).etc / "hostname").read_text().strip()] = json.loads(record.read_text())["pid"]
    return found


def write(folder: Path) -> Path:
    file = folder / "privileges.yaml"
    file.write_text(LAB)
    return file


def test_every_process_has_what_it_needs_alone(lab, tmp_path):
    """By kind of process; and the lab works."""
    lab.up(write(tmp_path))
    found = privileges(lab.name, commands_of(lab.state))
    ours = named(re.search(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())[1])  # root of a container has not all

    assert {name: (wanted & ours, *rest) for name, (wanted, *rest) in EXPECTED.items()} == found
    lab.test()


ONE = """\
apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: x}
spec: {nodes: 1}
---
{apiVersion: v1, kind: Pod, metadata: {name: try}, spec: {restartPolicy: Never, containers: [{name: c, image: x,
  command: COMMAND, readinessProbe: {exec: {command: [test, -e, /proc/self]}}}]}}
"""
WORDS = {"refused", "done"}
CALL = "import ctypes, sys; sys.exit(ctypes.CDLL(None).{} == -1)"
REFUSED = [
    pytest.param(("python3", "-c", CALL.format('mount(b"x", b"/mnt", b"tmpfs", 0, None)')), id="mount"),
    pytest.param(("unshare", "-U", "true"), id="a user namespace, in which it would have all capabilities"),
    pytest.param(("ip", "link", "set", "lo", "down"), id="the pod's network, without NET_ADMIN"),
    pytest.param(("python3", "-c", CALL.format("ptrace(16, 1, 0, 0)")), id="another process's memory"),
]


@pytest.mark.parametrize("command", REFUSED)
def test_a_command_cannot_leave_its_pod(lab, tmp_path, command):
    """What a plain command tries beyond its pod fails, and is in its log."""
    words = json.dumps(["sh", "-c", f"{shlex.join(command)} && echo done || echo refused; exec sleep infinity"])
    file = tmp_path / "one.yaml"
    file.write_text(ONE.replace("COMMAND", words))
    lab.up(file)

    assert ["refused"] == [line for line in lab.run("logs", "--lab", lab.name, "try").stdout.splitlines() if line in WORDS]


@pytest.mark.parametrize("victim", ["sockets-node1", "workloads-node1"])
def test_workloads_and_the_maker_of_their_sockets_live_and_die_together(lab, tmp_path, victim):
    """Either is killed: the other ends with it, both come again, and the workloads serve."""
    lab.up(write(tmp_path))
    before = {name: pid for name, pid in titles(lab.name).items() if name in {"sockets-node1", "workloads-node1"}}
    os.kill(before[victim], signal.SIGKILL)
    lab.up(tmp_path / "privileges.yaml")
    after = titles(lab.name)

    assert 2 == len(before)
    assert [] == [name for name, pid in before.items() if after[name] == pid or runs(pid)]
    assert "web" in lab.exec("client", "curl", "-s", "http://198.51.100.1/").stdout
