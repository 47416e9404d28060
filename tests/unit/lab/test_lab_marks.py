"""Processes of a lab are known without their records by title and folder together."""

from __future__ import annotations

import os

import pytest

from netlab.process.marks import inhabitants

ROOT = "/run/k8s-netlab"
STAT = "1 (x) S " + " ".join("0" for _ in range(50))


def make_process(proc, pid, title, folder):
    entry = proc / str(pid)
    entry.mkdir()
    (entry / "cmdline").write_bytes(title.encode() + b"\0" * 20)
    (entry / "cwd").symlink_to(folder)


@pytest.mark.parametrize(
    ("title", "folder", "expected"),
    [
        pytest.param("netlab: demo daemon", f"{ROOT}/demo", (True, False), id="daemon"),
        pytest.param("netlab: demo agent-node1", f"{ROOT}/demo", (False, False), id="agent"),
        pytest.param("netlab: demo daemon", f"{ROOT}/demo (deleted)", (True, True), id="daemon whose record is gone"),
        pytest.param("bash", f"{ROOT}/demo (deleted)", None, id="a shell somebody left there"),
    ],
)
def test_inhabitants(tmp_path, title, folder, expected):
    """A title alone or a folder alone is no mark of a lab."""
    make_process(tmp_path, os.getpid(), title, folder)

    found = [(i.is_daemon, i.lost) for i in inhabitants(tmp_path) if str(i.folder) == f"{ROOT}/demo"]

    assert ([expected] if expected else []) == found
