"""Whole labs whose pods are containers: every path, what is lost and comes back, the verbs that look into pods."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from labdriver import TIME_LIMIT, LabDriver, run

TOPOLOGY = Path(__file__).parent / "pods.yaml"


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def ids(lab: str, role: str = "") -> set[str]:
    labels = [f"label=netlab/lab={lab}", *([f"label=netlab/role={role}"] if role else [])]
    return set(docker("ps", "-aq", *(part for label in labels for part in ("--filter", label))).split())


@pytest.fixture(autouse=True, scope="module")
def _images(image_tags) -> None:
    """The images are there before a lab is timed."""


@pytest.fixture(scope="module")
def lab() -> Iterator[LabDriver]:
    """A lab that all tests of this module share; each leaves it whole."""
    driver = LabDriver(f"ntl{secrets.token_hex(3)}")
    try:
        driver.up(TOPOLOGY)
        yield driver
    finally:
        run("down", driver.name, check=None)

    assert ids(driver.name) == set()


def assert_whole(lab: LabDriver) -> None:
    """Every path works."""
    lab.up(TOPOLOGY)
    lab.test(check=0)


def addresses(lab: LabDriver) -> dict[str, str]:
    return {pod["name"]: pod["ip"] for pod in lab.status()["pods"]}


def until_logged(lab: LabDriver, pod: str) -> None:
    """Wait for a pod's first words: that it runs says nothing of them."""
    deadline = time.monotonic() + TIME_LIMIT
    while not run("logs", "--lab", lab.name, pod).stdout:
        assert time.monotonic() < deadline


def test_every_path_works(lab: LabDriver) -> None:
    """A lab of containers passes its whole connectivity test; also a built-in workload on a node's low port answers."""
    assert_whole(lab)

    assert "RemoteAddr" in lab.exec("client", "curl", "-s", f"http://{addresses(lab)['on-node']}:81/").stdout


def test_a_command_in_a_pod(lab: LabDriver) -> None:
    """`exec` runs in the container: its files, its environment, the command's own exit code; `logs` is what it wrote."""
    result = lab.exec("shell", "sh", "-c", "hostname; echo $WORD; cat; exit 7", check=7)
    until_logged(lab, "shell")

    assert result.stdout == "shell\ngiven\n"
    assert run("logs", "--lab", lab.name, "shell").stdout == "begun\n"
    assert "color: serving 80/TCP" in run("logs", "--lab", lab.name, "blue").stdout


@pytest.mark.parametrize(
    ("role", "name"), [("node", "node1"), ("sandbox", "default_blue"), ("container", "default_shell")], ids=lambda word: word
)
def test_what_is_removed_comes_back(lab: LabDriver, role: str, name: str) -> None:
    """`docker rm -f` of a node, of a pod's holder or container: every path works again, at the same addresses."""
    before = addresses(lab)
    meant = f"netlab_{lab.name}_{name}"
    found = docker("ps", "-q", "--filter", f"label=netlab/role={role}", "--filter", f"name={meant}").split()
    docker("rm", "-f", found[0])
    assert_whole(lab)

    assert before == addresses(lab)


def test_a_killed_daemon_changes_no_container(lab: LabDriver) -> None:
    """After `kill -9` of the daemon `up` goes on with the very containers that run."""
    before = ids(lab.name)
    os.kill(lab.pid("daemon"), signal.SIGKILL)
    assert_whole(lab)

    assert before == ids(lab.name)


def test_an_edit_makes_the_difference(lab: LabDriver, tmp_path: Path) -> None:
    """A scaled Deployment gains and loses pods; what stays is not touched, what leaves leaves nothing."""
    before = ids(lab.name)
    more = tmp_path / "lab.yaml"
    more.write_text(TOPOLOGY.read_text().replace("replicas: 2", "replicas: 4"))
    lab.up(more)
    scaled = ids(lab.name)
    assert_whole(lab)

    assert (len(scaled), before <= scaled) == (len(before) + 4, True)
    assert len(ids(lab.name)) == len(before)


def test_a_missing_image_is_told_before_anything_is_made(tmp_path: Path) -> None:
    """Who names an image that cannot be had is told file, line and remedy, and nothing is made."""
    name, file = f"ntl{secrets.token_hex(3)}", tmp_path / "lab.yaml"
    file.write_text(TOPOLOGY.read_text().replace("image: busybox", "image: registry.invalid/none:1"))
    refused = LabDriver(name).up(file, check=2)

    assert f"{file}:33:28: spec.containers[0].image: failed to pull" in refused.stderr
    assert "docker build -t registry.invalid/none:1 ." in refused.stderr
    assert (ids(name), Path(f"/run/k8s-netlab/{name}").exists()) == (set(), False)
