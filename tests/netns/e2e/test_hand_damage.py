"""What people break by hand heals: `up` of the same file says so, and every check passes again. What is not netlab's stays."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import fuzzing
import pytest
from damage import DAMAGES
from labdriver import HostPicture, LabDriver, run

TOPOLOGY = Path(__file__).parent / "damage.yaml"
SAMPLE = [row for row in DAMAGES if row.sample]
TRIED = (SAMPLE + [row for row in DAMAGES if not row.sample])[: fuzzing.cases(len(SAMPLE))]
PROMISED = 60  # seconds: a look every 30, the work, and the time of a test of everything


@pytest.fixture(scope="module", autouse=True)
def netns_folder():
    """The folder of named namespaces as `ip netns` makes it: the first `ip netns add` of a machine mounts it on itself."""
    folder = Path("/run/netns")
    existed, mounted = folder.exists(), folder.is_mount()
    add_namespace(name := folder / f"x{os.getpid()}")
    remove_namespace(name)
    yield folder
    if not mounted:
        subprocess.run(["umount", folder], check=True)
    if not existed:
        folder.rmdir()


@pytest.fixture(scope="module")
def broken_lab(netns_folder):  # noqa: ARG001 -- it is there before the host is looked at
    """One lab for all damages: each must leave it whole."""
    before = HostPicture.take()
    lab = LabDriver(f"t{os.getpid()}")
    try:
        lab.up(TOPOLOGY)
        yield lab
    finally:
        if lab.state.exists():
            run("down", lab.name, check=None)
    assert before == HostPicture.take()


def faults(lab):
    """Return the checks that do not pass, and the nodes and pods that are not up."""
    failed = [(check["id"], check["reasons"]) for check in lab.test(check=None)["checks"] if check["verdict"] != "pass"]
    status = lab.status()
    parts = [*status["nodes"], *status["pods"], {"name": "edge", **status["edge"]}]
    return [*failed[:3], *((part["name"], part["status"]) for part in parts if part["status"] not in {"Ready", "Running"})]


@pytest.mark.fuzz
@pytest.mark.parametrize("damage", TRIED, ids=lambda row: row.name.replace(" ", "-"))
def test_up_heals(broken_lab, damage):
    """After one `up` all checks pass: nothing is left that only time would heal (S4)."""
    with damage.done(broken_lab.name, str(broken_lab.state)):
        broken_lab.up(TOPOLOGY)

        assert [] == faults(broken_lab)


def test_it_heals_by_itself(broken_lab):
    """Without anybody's doing a lab is whole again within the promised time, whatever of it was broken (S4)."""
    rows = {row.name: row for row in DAMAGES}
    for name in ("node1: namespace deleted", "default-web1: namespace deleted", "client: main table flushed", "edge: lo down"):
        with rows[name].done(broken_lab.name, str(broken_lab.state)):
            pass
    deadline = time.monotonic() + PROMISED
    while faults(broken_lab) and time.monotonic() < deadline:
        time.sleep(1)

    assert [] == faults(broken_lab)


def test_status_of_what_was_stopped(broken_lab):
    """An agent or edge that is stopped, or a namespace that is gone, is seen at once (S4)."""
    for name in ("agent-node2", "edge"):
        os.kill(broken_lab.pid(name), signal.SIGSTOP)
    subprocess.run(["ip", "netns", "delete", f"{broken_lab.name}-default-web1"], check=True)
    status = broken_lab.status()
    broken_lab.up(TOPOLOGY)

    assert [("node2", "NotReady")] == [(n["name"], n["status"]) for n in status["nodes"] if "stopped" in n["message"]]
    assert "NotReady" == status["edge"]["status"]
    assert ["SandboxChanged"] == [pod["status"] for pod in status["pods"] if pod["name"] == "web1"]
    assert [] == faults(broken_lab)


# ---- what netlab did not make
def add_namespace(path):
    subprocess.run(["ip", "netns", "add", path.name], check=True)
    subprocess.run(["ip", "-n", path.name, "link", "set", "lo", "up"], check=True)


def remove_namespace(path):
    subprocess.run(["ip", "netns", "delete", path.name], check=True)


STRANGERS = [
    pytest.param(add_namespace, remove_namespace, id="a namespace"),
    pytest.param(lambda path: path.write_text("mine"), Path.unlink, id="a file"),
    pytest.param(lambda path: path.symlink_to("/proc/self/ns/net"), Path.unlink, id="a symbolic link"),
]


@pytest.mark.parametrize(("make", "remove"), STRANGERS)
def test_what_has_the_name_of_a_pods_namespace(netns_folder, make_lab, make, remove):
    """It is neither programmed nor removed; that pod alone fails and says why, and comes up when the name is free (S5)."""
    lab = make_lab(f"t{os.getpid()}s")
    path = netns_folder / f"{lab.name}-default-web1"
    make(path)
    try:
        before = picture(path)
        said = lab.up(TOPOLOGY).stderr
        phases = {pod["name"]: pod["status"] for pod in lab.status()["pods"]}
        seen = picture(path)
        again = lab.up(TOPOLOGY).stderr
        run("gc")
        lab.down()
        after = picture(path)
    finally:
        remove(path)

    for words in (said, again):
        assert f"note: Pod default/web1: FailedCreatePodSandBox: {path} exists" in words
    assert {"web1": "ContainerCreating", "web2": "Running", "shell": "Running"} == phases
    assert before == seen == after


def picture(path):
    """Return what a name holds: its kind, inode and content, and what is inside of a namespace."""
    found = path.lstat()
    links = subprocess.run(["ip", "-n", path.name, "addr"], capture_output=True, text=True, check=False)
    return found.st_mode, found.st_ino, found.st_size, "" if path.is_symlink() else links.stdout


def test_the_name_becomes_free(netns_folder, make_lab):
    """A pod that was refused its namespace comes up with the next `up` after somebody removed what was in its place."""
    lab = make_lab(f"t{os.getpid()}f")
    path = netns_folder / f"{lab.name}-default-web1"
    add_namespace(path)
    lab.up(TOPOLOGY)
    remove_namespace(path)

    lab.up(TOPOLOGY)

    assert [] == faults(lab)
    lab.down()
