"""The contract of `HostAccess` that needs no privilege, and what only one implementation does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest
from accessworlds import DockerWorld, FakeWorld, NetnsWorld, World, named_pod, world_of

from netlab.api.lab import Lab, LabSpec
from netlab.engine.fake import FakeEngine
from netlab.engine.protocol import LAB_LABEL, STATE_LABEL, ContainerSpec
from netlab.errors import EngineError, UnsupportedHostError, UsageError
from netlab.lab.access.choice import access_of
from netlab.lab.access.docker import DockerAccess, orphans
from netlab.lab.access.interface import AgentState
from netlab.lab.access.netns import NetnsAccess
from netlab.state import StateDirectory


@pytest.fixture(params=["netns", "docker", "fake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """All implementations: what holds for one holds for the others."""
    with world_of(request.param, "l", tmp_path) as world:
        yield world


@pytest.fixture(params=["netns", "fake"])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetnsWorld | FakeWorld]:
    """The implementations that have the state of an agent."""
    with world_of(request.param, "l", tmp_path) as world:
        yield world


@pytest.fixture
def docker(tmp_path: Path) -> DockerWorld:
    return DockerWorld("l", tmp_path)


def test_process_logs(world: World) -> None:
    """The daemon and the agents have a log under their name, in order; other names have none."""
    world.write_log("daemon", "ready\n")
    world.start_agent("edge", "round=1\n")
    world.start_agent("node1", "round=2\n")

    assert world.access.process_logs() == ("agent-node1", "daemon", "edge")
    logs = [world.access.process_log(name) for name in world.access.process_logs()]
    assert logs == ["round=2\n", "ready\n", "round=1\n"]
    assert world.access.process_log("node1") is None


def test_container_log(world: World) -> None:
    """A container has its own output; UsageError names one that has not run."""
    world.start_container(named_pod(), "main", "from main\n")
    world.start_container(named_pod("other"), "side", "from another pod\n")

    assert world.access.container_log(named_pod(), "main") == "from main\n"
    with pytest.raises(UsageError, match="container 'side' of pod default/web"):
        world.access.container_log(named_pod(), "side")


def test_removal_can_be_repeated(world: World) -> None:
    """A second removal of containers and networks finds nothing."""
    world.access.remove_containers()
    world.access.remove_networks()

    assert world.access.remove_containers() == 0
    world.access.remove_networks()


@pytest.mark.parametrize("host", ["node1", "edge"])
def test_agent_state(processes: NetnsWorld | FakeWorld, host: str) -> None:
    """An agent runs, is stopped, is dead; one that never started is dead."""
    processes.start_agent(host, "")
    states = [processes.access.agent_state(host)]
    processes.stop_agent(host)
    states.append(processes.access.agent_state(host))
    processes.kill_agent(host)
    states.append(processes.access.agent_state(host))

    assert states == [AgentState.RUNNING, AgentState.STOPPED, AgentState.DEAD]
    assert processes.access.agent_state("node2") is AgentState.DEAD


# ---- containers
def test_state_of_an_agent_in_a_container_is_unknown(docker: DockerWorld) -> None:
    """The engine restarts it and is not asked."""
    assert docker.access.agent_state("node1") is AgentState.UNKNOWN


def test_log_of_the_newest_run(docker: DockerWorld) -> None:
    """A container that was restarted has the output of its last run, also if that has ended."""
    docker.start_container(named_pod(), "main", "first\n")
    docker.engine.end(docker.start_container(named_pod(), "main", "second\n").id)

    assert docker.access.container_log(named_pod(), "main") == "second\n"


def test_ended_container_runs_no_command(docker: DockerWorld) -> None:
    """A command needs a container that runs; the message names container and pod."""
    docker.engine.end(docker.start_container(named_pod(), "main", "").id)

    words = r"container main of pod default/web is not running\n.*netlab status"
    with pytest.raises(UsageError, match=words):
        docker.access.run_in_pod(named_pod(), "main", ["true"])


def test_user_of_a_command(docker: DockerWorld) -> None:
    """A command on a host is root's, one in a pod is that of the container's user."""
    docker.start_agent("node1", "")
    docker.start_container(named_pod(), "main", "")

    docker.access.run_on_host("node1", ["sh", "-c", "exit 0"])
    docker.access.run_in_pod(named_pod(), "main", ["sh", "-c", "exit 0"])
    assert docker.users == ["0", ""]


class Late(FakeEngine):
    """Starts one of `asked` with every removal: a request of a process that has ended meanwhile."""

    asked: list[str]

    def remove(self, ids: Sequence[str]) -> None:
        super().remove(ids)
        if self.asked:
            self.start([spec(self.asked.pop())])


def spec(name: str, lab: str = "l") -> ContainerSpec:
    return ContainerSpec(name, "image:1", {LAB_LABEL: lab})


@pytest.mark.parametrize("late", [[], ["c"], ["c", "d", "e"]])
def test_removal_includes_containers_started_during_it(tmp_path: Path, late: list[str]) -> None:
    """The engine is asked until it has nothing of the lab; the number includes late containers."""
    engine = Late(images={"image:1": {}})
    engine.asked = list(late)
    engine.start([spec("a"), spec("b"), spec("other", "other")])
    access = DockerAccess(StateDirectory("l", tmp_path), lambda: nullcontext(engine))

    assert access.remove_containers() == 2 + len(late)
    assert [container.name for container in engine.containers({})] == ["other"]


class Busy(FakeEngine):
    """Removes no container."""

    def remove(self, ids: Sequence[str]) -> None:
        raise EngineError(f"could not remove container {ids[0]}: device or resource busy")


def test_refused_removal_raises(tmp_path: Path) -> None:
    """A container that the engine does not remove ends the removal with the engine's message."""
    engine = Busy(images={"image:1": {}})
    engine.start([spec("a")])

    with pytest.raises(EngineError, match="busy"):
        DockerAccess(StateDirectory("l", tmp_path), lambda: nullcontext(engine)).remove_containers()


def test_removal_leaves_other_labs_alone(docker: DockerWorld) -> None:
    """Containers and networks go by the label of the lab."""
    docker.access.remove_containers()
    docker.access.remove_networks()

    assert [network.name for network in docker.engine.networks({})] == ["netlab_other"]
    assert [container.name for container in docker.engine.containers({})] == ["other"]


# ---- labs without a record
@pytest.mark.parametrize(("root", "found"), [("/run/mine", ("lost",)), ("/run/theirs", ())])
def test_orphans(root: str, found: tuple[str, ...]) -> None:
    """A lab without a record belongs to the root of records that its labels name."""
    engine = FakeEngine(images={"image:1": {}})
    for lab in ("lost", "known"):
        engine.start([ContainerSpec(lab, "image:1", {LAB_LABEL: lab, STATE_LABEL: "/run/mine"})])

    assert orphans(Path(root), ["known"], lambda: nullcontext(engine)) == found


def test_no_engine_has_no_orphans() -> None:
    """A machine without an engine has nothing of any lab."""

    def refuse():
        raise UnsupportedHostError("cannot connect to the container engine")

    assert orphans(Path("/run/mine"), [], refuse) == ()


# ---- which implementation
@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"lab.json": "netns"}, NetnsAccess),
        ({"lab.json": "docker"}, DockerAccess),
        ({"lab.json": "another"}, NetnsAccess),
        ({"images.json": ""}, DockerAccess),
        ({"images.json": "", "lab.json": "netns"}, DockerAccess),
        ({}, NetnsAccess),
    ],
)
def test_record_chooses_the_access(monkeypatch: pytest.MonkeyPatch, tmp_path, files, kind) -> None:
    """Only containers have recorded images; lab.json names the runtime; else the engine decides."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    for name, runtime in files.items():
        content = msgspec.json.encode(Lab(spec=LabSpec(runtime=runtime))) if runtime else b"{}"
        (tmp_path / name).write_bytes(content)

    assert type(access_of(StateDirectory("l", tmp_path))) is kind
