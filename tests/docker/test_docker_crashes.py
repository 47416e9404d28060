"""kill -9 in the middle of `up` with containers: either it is rolled back, or the next `up` goes on with what is there."""

from __future__ import annotations

import os
import queue
import signal
import subprocess

import pytest
from labdriver import COMMAND, ROOT, TIME_LIMIT, TOPOLOGIES, LabDriver

from netlab.engine.client import DockerEngine
from netlab.engine.protocol import LAB_LABEL, Event

QUICKSTART = TOPOLOGIES / "quickstart.yaml"


def killed(lab: LabDriver, engine: DockerEngine, containers: int, *, both: bool) -> subprocess.CompletedProcess[str]:
    """Begin `up`, and kill the daemon (and `up` itself) when so many containers have started; return how `up` ended."""
    news: queue.Queue[Event] = queue.Queue()
    end = engine.events({LAB_LABEL: lab.name}, news.put)
    words = [*COMMAND, "up", "--runtime", "docker", "--name", lab.name, str(QUICKSTART)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT) as up:
        for _ in range(containers):
            while news.get(timeout=TIME_LIMIT).action != "start":
                assert up.poll() is None
        if both:
            up.kill()
        os.kill(lab.pid("daemon"), signal.SIGKILL)
        said = up.communicate(timeout=TIME_LIMIT)[1]
    end()
    return subprocess.CompletedProcess(words, up.returncode, stderr=said)


def assert_good(lab: LabDriver) -> None:
    """The next `up` brings a lab in which every path works."""
    lab.up(QUICKSTART, "--runtime", "docker")

    assert {"pass"} == {check["verdict"] for check in lab.test()["checks"]}
    lab.down()


@pytest.mark.usefixtures("image_tags")
@pytest.mark.parametrize("containers", [1, 14])  # of 26: the first host; some of the pods
def test_the_daemon_is_killed(lab: LabDriver, docker_engine: DockerEngine, containers: int) -> None:
    """`up` says that the daemon died and takes away what it had made; the next one brings a good lab."""
    up = killed(lab, docker_engine, containers, both=False)

    assert 1 == up.returncode, up.stderr
    assert "Traceback" not in up.stderr
    assert [] == docker_engine.containers({LAB_LABEL: lab.name})
    assert [] == docker_engine.networks({LAB_LABEL: lab.name})

    assert_good(lab)


@pytest.mark.usefixtures("image_tags")
def test_both_are_killed(lab: LabDriver, docker_engine: DockerEngine) -> None:
    """Nobody rolls back: the next `up` goes on with the containers that are there."""
    killed(lab, docker_engine, 8, both=True)
    before = {container.id for container in docker_engine.containers({LAB_LABEL: lab.name})}
    assert len(before) >= 8

    assert_good(lab)
