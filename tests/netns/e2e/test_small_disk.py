"""The record of a lab on a file system of 40 MiB: a command that prints cannot fill it, and a full one is no hindrance (B4)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from labdriver import LabDriver

SIZE = 40 * 1024 * 1024
FLOOD = """
apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: flood}
spec: {nodes: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: printer}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: main, image: busybox, command: ["yes", "hello hello hello hello"]}
    - {name: writer, image: busybox, command: [sh, -c, "cat /dev/zero > /etc/hosts; exec sleep 1000000"]}
"""


@pytest.fixture
def small_disk(tmp_path):
    """Return the lab's driver and its record's folder, on a small file system that only the commands of this test see."""
    folder = tmp_path / "labs"
    folder.mkdir()
    script = f"mount -t tmpfs -o size={SIZE} tmpfs {folder} && echo ready && exec sleep 1000000"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"ready\n"
        inside = ("nsenter", "--target", str(holder.pid), "--mount", "env", f"K8SNETLAB_STATE={folder}")
        lab = LabDriver("flood", inside=inside)
        yield lab, Path(f"/proc/{holder.pid}/root{folder}")
        lab.run("down", "--all", check=None)
        holder.kill()


def free(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def written(folder):
    """Return the bytes that the printer's logs have."""
    total = 0
    for path in folder.glob("flood/pods/*/main.log*"):
        with contextlib.suppress(FileNotFoundError):  # it has just been rotated
            total += path.stat().st_size
    return total


def test_a_command_that_prints_leaves_space(small_disk, tmp_path):
    """`yes` prints far more than there is space for; the log is bounded, a tenth of the disk stays free, the lab goes on."""
    lab, folder = small_disk
    file = tmp_path / "flood.yaml"
    file.write_text(FLOOD)
    lab.run("up", file)
    smallest, rotations, newest = SIZE, 0, None
    while rotations < 8:  # the log has begun eight new files: 80 MiB were printed
        smallest = min(smallest, free(folder))
        for path in folder.glob("flood/pods/*/main.log"):
            with contextlib.suppress(FileNotFoundError):
                inode = path.stat().st_ino
                rotations, newest = rotations + (inode != newest), inode
        assert written(folder) <= SIZE

    assert lab.pods("printer")[0]["restarts"] == 0
    lines = lab.run("logs", "--lab", "flood", "printer", "-c", "main").stdout.splitlines()
    assert lines[-2] == "hello hello hello hello"  # the last one is just being written
    assert "No space left" in lab.run("logs", "--lab", "flood", "printer", "-c", "writer").stdout
    assert smallest > SIZE // 10 - 1024 * 1024
    lab.down()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("daemon", ["alive", "killed"])
def test_a_full_disk_keeps_nobody_from_removing_a_lab(small_disk, tmp_path, daemon):
    """Without a free byte `status` and `down` or `gc` work; what has to write says so in one sentence, with a remedy."""
    lab, folder = small_disk
    file = tmp_path / "flood.yaml"
    file.write_text(FLOOD.replace('"yes", "hello hello hello hello"', '"sleep", "1000000"'))
    lab.run("up", file)
    fill_up(folder / "fill")
    if daemon == "killed":
        subprocess.run(["kill", "-KILL", str(lab_pid(folder))], check=True)

    assert free(folder) == 0
    assert lab.run("status", "flood").stdout
    another = lab.run("up", "--name", "another", file, check=None)
    assert another.returncode in {1, 4}
    assert "No space left on device" in another.stderr
    assert "Free space there" in another.stderr
    done = lab.run("gc") if daemon == "killed" else lab.run("down", "flood")
    assert "flood" in done.stdout + done.stderr
    assert [path.name for path in folder.iterdir()] == ["fill"]


def fill_up(path):
    """Write a file until there is no free byte."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def lab_pid(folder):
    text = (folder / "flood/processes/daemon").read_text()
    return int(text.split('"pid": ')[1].split(",")[0])
