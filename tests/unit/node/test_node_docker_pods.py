from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from netlab.api.meta import ObjectMeta
from netlab.api.pods import Container, Pod, PodSpec
from netlab.errors import EngineError, UnsupportedHostError
from netlab.kernel.door import Occupant
from netlab.node.docker_containers import key_of
from netlab.node.docker_pods import DockerPods
from netlab.node.kubelet_pods import FINAL_WAITING
from netlab.node.pod_runtime import SANDBOX_REFUSED, Began, Changed, Ended, PodEvent, Refused, Run, RunKey, SandboxLost, Stop
from netlab.node.podfiles import PodFiles
from netlab.node.workload_container import tell
from netlab.node.workloads_protocol import ServerStatus
from netlab.runtime import docker
from netlab.runtime.docker import NO_NETWORK, OWNER_LABEL, ROLE_LABEL, ContainerSpec
from netlab.runtime.fake_docker import FakeEngine
from netlab.runtime.statedir import StateDirectory

OURS, PATH = "netlab/workloads:1", "/run/netns/none-default-p"
SERVER, TOOL = Container(name="web", image="nginx"), Container(name="tool", image="busybox", command=("sleep", "1"))
POD = Pod(metadata=ObjectMeta(name="p", namespace="default", uid="u"), spec=PodSpec(node_name="node1", containers=(SERVER, TOOL)))
KNOWN = {("u", "web"), ("u", "tool")}
DEADLINE = 5


class Rig:
    """A runtime with a fake engine, and the news it has told."""

    def __init__(self, engine: FakeEngine, root: Path) -> None:
        self.engine, self.state = engine, StateDirectory("lab", root)
        self.news: list[PodEvent] = []
        self.paths: dict[str, str] = {}
        self.occupants: dict[str, Occupant] = {}  # what somebody else has put at a path
        self.limited: list[Path] = []
        kernel: Any = SimpleNamespace(
            bind_namespaces=self.paths.update,
            namespace_exists=lambda path: path in self.paths,
            occupant=lambda path: self.occupants.get(path, Occupant.NAMESPACE if path in self.paths else Occupant.NOTHING),
        )
        self.pods = DockerPods(
            engine=engine, kernel=kernel, state=self.state, domain="cluster.local", workloads=OURS, limit=self.limited.append
        )
        self.pods.subscribe(self.news.append)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110 -- the news come from threads of the fake
                await asyncio.sleep(0.001)

    async def stand(self) -> None:
        words = await asyncio.to_thread(self.pods.make_namespaces, {PATH: POD})
        if words:
            await self.until(lambda: Changed("u") in self.news)

    def run(self, container: Container, number: int = 0) -> Run:
        return Run(POD, container, number, PATH, "10.244.1.2", PodFiles(self.state.pod("u")))

    async def begin(self, container: Container, number: int = 0) -> RunKey:
        run = self.run(container, number)
        self.pods.start(run)
        await self.pods.carry_out(["node1"])
        await self.until(lambda: (tracked := self.pods._runs.get(run.key.place)) is None or tracked.container)
        if container is SERVER:
            self.listen(run.key)
        await self.until(lambda: any(getattr(item, "key", None) == run.key for item in self.news))
        return run.key

    def listen(self, key: RunKey) -> None:
        tell(str(self.state.socket("ready")), ServerStatus(key=f"{key.uid}/{key.container}", run=key.number))

    def deafen(self) -> None:
        """Have no news told any more."""
        self.engine._listeners.clear()
        self.pods._unlisten = None

    def about(self, key: RunKey) -> list[str]:
        return [type(item).__name__ for item in self.news if getattr(item, "key", None) == key]

    def ids(self, role: str) -> dict[str, str]:
        return {c.name: c.id for c in self.engine.containers({ROLE_LABEL: role})}


@dataclass
class Forgetful(FakeEngine):
    """Goes away once after it has started a container of a role, and as long as it is told to."""

    forgets: set[str] = field(default_factory=set)
    away: bool = False
    keeps: bool = False  # removes nothing
    answer: threading.Event | None = None
    listed: bool = False

    def start(self, specs: Sequence[ContainerSpec]) -> list[docker.Container]:
        if self.away:
            raise UnsupportedHostError("no container engine answers")
        made = super().start(specs)
        roles = {spec.labels[ROLE_LABEL] for spec in specs}
        if roles & self.forgets:
            self.forgets -= roles
            raise EngineError("the container engine did not answer")
        return made

    @contextlib.contextmanager
    def slow_to_list(self) -> Iterator[None]:
        """Have the next answer to a question for containers wait for the end of the block."""
        answer = self.answer = threading.Event()
        yield
        answer.set()

    def containers(self, labels: Mapping[str, str]) -> list[docker.Container]:
        found, answer, self.answer = super().containers(labels), self.answer, None
        if answer:
            self.listed = True
            answer.wait(DEADLINE)
        return found

    def run(self, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:
        if self.away:
            raise UnsupportedHostError("no container engine answers")
        return super().run(container, argv, limit)

    def remove(self, ids: Sequence[str]) -> None:
        if ids and self.keeps:
            raise EngineError("the container engine did not answer")
        super().remove(ids)


class Racing(FakeEngine):
    """Starts a pod's container when it is told to, or just before it removes something."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked, self.go, self.started = (threading.Event() for _ in range(3))

    def start(self, specs: Sequence[ContainerSpec]) -> list[docker.Container]:
        late = any(spec.labels[ROLE_LABEL] == "container" for spec in specs)
        if late:
            self.asked.set()
            self.go.wait(DEADLINE)
        made = super().start(specs)
        if late:
            self.started.set()
        return made

    def remove(self, ids: Sequence[str]) -> None:
        if ids:
            self.go.set()
            self.started.wait(DEADLINE)
        super().remove(ids)


@contextlib.asynccontextmanager
async def rigged(engine: FakeEngine, root: Path):
    rig = Rig(engine, root)
    rig.state.create()
    running = asyncio.create_task(rig.pods.run())
    await rig.pods.recall(KNOWN)
    yield rig
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def engine():
    return FakeEngine(images={OURS: {}, "here:1": {}})


@pytest.fixture
async def rig(engine, near):
    async with rigged(engine, near) as rig:
        yield rig


async def test_a_namespace_is_its_holders(rig):
    """A pod without holder gets one, whose namespace has the pod's path; a second look changes nothing."""
    first = rig.pods.make_namespaces({PATH: POD})
    await rig.until(lambda: Changed("u") in rig.news)
    (holder,) = rig.engine.containers({})

    assert (first, rig.pods.make_namespaces({PATH: POD})) == ({"u": "its sandbox is being started"}, {})
    assert {PATH: holder.network_namespace} == rig.paths
    assert rig.engine.specs[holder.id].stop_signal == "SIGKILL"  # `sleep` as the first process would ignore SIGTERM
    assert ["none-default-p"] == [path.name for path in rig.state.namespaces.iterdir()]


async def test_a_name_that_was_removed_is_bound_again(rig):
    """`ip netns delete` of a pod takes away the name alone; the holder goes on, and a look gives its namespace the name again."""
    await rig.stand()
    holder = rig.paths.pop(PATH)
    rig.news.clear()
    await rig.stand()

    assert {PATH: holder} == rig.paths
    assert 1 == len(rig.engine.containers({}))


@pytest.mark.parametrize("found", [Occupant.NAMESPACE, Occupant.OTHER, Occupant.NAME])
async def test_a_strangers_namespace_is_not_taken(rig, found):
    """What the lab did not make at the pod's path stays, and the pod says what to do (S5)."""
    rig.occupants[PATH] = found

    async def words() -> str:
        return (await asyncio.to_thread(rig.pods.make_namespaces, {PATH: POD})).get("u", "")

    async with asyncio.timeout(DEADLINE):
        while not (said := await words()).startswith(SANDBOX_REFUSED):  # noqa: ASYNC110 -- the answer comes from a thread
            await asyncio.sleep(0.001)

    assert f"{PATH} exists, and lab 'lab' did not make it. Remove it" in said
    assert ({}, []) == (rig.paths, list(rig.state.namespaces.iterdir()))


async def test_a_server_has_begun_when_it_listens(rig):
    """A program runs when the engine says so, a built-in workload when it listens; both in the holder's network."""
    await rig.stand()
    tool = await rig.begin(TOOL)
    run = rig.run(SERVER)
    rig.pods.start(run)
    await rig.pods.carry_out(["node1"])
    await rig.until(lambda: rig.pods._runs.get(run.key.place).container)
    before = rig.about(run.key)
    rig.listen(run.key)
    await rig.until(lambda: rig.about(run.key))
    networks = {spec.network for spec in rig.engine.specs.values()}

    assert (rig.about(tool), before, rig.about(run.key)) == (["Began"], [], ["Began"])
    assert networks == {NO_NETWORK, f"container:{rig.ids('sandbox')['netlab_lab_default_p']}"}


async def test_files_of_etc_have_a_size_before_a_container_has_them(rig):
    """The folder that is mounted writable is limited first: `cat /dev/zero > /etc/hosts` ends (CVE-2020-8557)."""
    await rig.stand()
    await rig.begin(TOOL)

    assert rig.limited == [PodFiles(rig.state.pod("u")).etc]


async def test_an_end_is_told_with_its_code_and_the_old_run_goes_with_the_next(rig):
    """What the engine says of a container's end is the run's end; its container stays, for its log, until the next one."""
    await rig.stand()
    key = await rig.begin(TOOL)
    rig.engine.end(rig.ids("container")["netlab_lab_default_p_tool_0"], 3)
    await rig.until(lambda: Ended(key, 3) in rig.news)
    kept = sorted(rig.ids("container"))
    await rig.begin(TOOL, 1)
    await rig.until(lambda: len(rig.ids("container")) == 1)

    assert (kept, sorted(rig.ids("container"))) == (["netlab_lab_default_p_tool_0"], ["netlab_lab_default_p_tool_1"])

    await rig.until(lambda: not rig.pods._work.tasks("u"))

    assert rig.pods._runs._old == {}  # nothing is remembered of what is gone


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        (Container(name="c", image="none:1", image_pull_policy="IfNotPresent"), "ErrImagePull"),
        (Container(name="c", image="none:1", image_pull_policy="Never"), "ErrImageNeverPull"),
        (Container(name="c", image="No Name:1"), "InvalidImageName"),
    ],
)
async def test_a_run_without_image_is_refused(rig, container, reason):
    """The reason is Kubernetes' own."""
    await rig.stand()
    key = await rig.begin(container)

    assert [(key, reason)] == [(item.key, item.reason) for item in rig.news if isinstance(item, Refused)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EngineError("No command specified", code=400), "CreateContainerError"),
        (EngineError("unable to find user nosuch: no matching entries in passwd file", code=500), "CreateContainerError"),
        (EngineError("cannot join network of a non running container", code=409), "RunContainerError"),
        (EngineError("the pod's sandbox has ended"), "RunContainerError"),
        (UnsupportedHostError("no container engine answers"), "RunContainerError"),
    ],
)
async def test_a_container_that_never_can_be_is_told_from_one_that_cannot_be_now(rig, monkeypatch, error, reason):
    """`up` waits for what passes by itself, and for nothing else."""
    await rig.stand()

    def refuse(_specs):
        raise error

    monkeypatch.setattr(rig.engine, "start", refuse)
    await rig.begin(TOOL)

    assert [reason] == [item.reason for item in rig.news if isinstance(item, Refused)]
    assert (reason in FINAL_WAITING) is (reason == "CreateContainerError")


@pytest.mark.parametrize(
    ("container", "step", "expected"),
    [
        (SERVER, Stop.DRAIN, []),
        (SERVER, Stop.END, [143]),
        (SERVER, Stop.KILL, [137]),
        (TOOL, Stop.DRAIN, []),
        (TOOL, Stop.END, [143]),
        (TOOL, Stop.KILL, [137]),
    ],
)
async def test_steps_are_signals(rig, container, step, expected):
    """To drain ends nobody, to end is SIGTERM, to kill SIGKILL; a run that nobody knows is over when it is to be killed."""
    await rig.stand()
    key = await rig.begin(container)
    rig.pods.stop(key, step)
    rig.pods.stop(key._replace(number=7), step)
    await rig.until(lambda: not rig.pods._work.tasks("u"))
    await asyncio.sleep(0.01)

    assert expected == [item.code for item in rig.news if isinstance(item, Ended) and item.key == key]
    assert (step is Stop.KILL) == (Ended(key._replace(number=7), None) in rig.news)


async def test_a_lost_holder_takes_its_containers_along(rig):
    """When a holder ends, what ran in its network ends, the kubelet hears of it, and the next holder has another name."""
    await rig.stand()
    key = await rig.begin(TOOL)
    (old,) = rig.ids("sandbox").values()
    rig.engine.remove([old])
    await rig.until(lambda: SandboxLost("u") in rig.news and Ended(key, 137) in rig.news)
    rig.news.clear()
    await rig.stand()

    assert [old] != list(rig.ids("sandbox").values())
    assert rig.pods.make_namespaces({PATH: POD}) == {}


async def test_what_ran_while_the_engine_was_away(rig):
    """After the engine's restart nothing runs: every run has ended and every sandbox is lost."""
    await rig.stand()
    key = await rig.begin(TOOL)
    rig.engine.lose()
    await rig.until(lambda: SandboxLost("u") in rig.news and rig.about(key) == ["Began", "Ended"])


@pytest.mark.parametrize("what", ["sandbox", "container"])
async def test_a_start_whose_answer_is_lost_is_repeated(near, what):
    """An engine that goes away in the middle leaves a container: the next attempt takes its name, and its end is not ours."""
    engine = Forgetful(images={OURS: {}}, forgets={what})
    async with rigged(engine, near) as rig:
        if what == "sandbox":
            await asyncio.to_thread(rig.pods.make_namespaces, {PATH: POD})
            await rig.until(lambda: not rig.pods._work.tasks("u") and rig.ids("sandbox"))
        await rig.stand()
        first = await rig.begin(TOOL)
        second = await rig.begin(TOOL) if what == "container" else first
        await rig.until(lambda: not rig.pods._work.tasks("u"))

        assert rig.about(second) == (["Refused", "Began"] if what == "container" else ["Began"])
        assert (len(rig.ids("sandbox")), len(rig.ids("container"))) == (1, 1)


async def test_what_could_not_be_removed_goes_with_the_next_run(near):
    """An ended run's container that the engine did not remove is not forgotten."""
    engine = Forgetful(images={OURS: {}})
    async with rigged(engine, near) as rig:
        await rig.stand()
        for number in range(3):
            engine.keeps = number == 1
            key = await rig.begin(TOOL, number)
            await rig.until(lambda: not rig.pods._work.tasks("u"))
            if number < 2:
                engine.end(rig.ids("container")[f"netlab_lab_default_p_tool_{number}"], 1)
                await rig.until(lambda key=key: rig.about(key) == ["Began", "Ended"])

        assert sorted(rig.ids("container")) == ["netlab_lab_default_p_tool_2"]


async def test_a_lost_holder_is_replaced_when_the_engine_is_back(near):
    """While the engine is away no attempt comes through; the first that does takes the place of what has ended."""
    engine = Forgetful(images={OURS: {}})
    async with rigged(engine, near) as rig:
        await rig.stand()
        (old,) = rig.ids("sandbox").values()
        engine.end(old, 137)
        await rig.until(lambda: SandboxLost("u") in rig.news)
        engine.away = True
        await asyncio.to_thread(rig.pods.make_namespaces, {PATH: POD})
        await rig.until(lambda: not rig.pods._work.tasks("u"))
        engine.away = False
        rig.news.clear()
        await rig.stand()

        assert [old] != list(rig.ids("sandbox").values())


async def test_a_probe_fails_while_the_engine_is_away(near):
    """It says why, and is made again: an engine that restarts may leave its containers running."""
    engine = Forgetful(images={OURS: {}})
    async with rigged(engine, near) as rig:
        await rig.stand()
        await rig.begin(TOOL)
        engine.away = True
        result = await rig.pods.probe(rig.run(TOOL), ("true",), 1.0)

        assert (False, "no container engine answers") == (result.success, result.message)


async def test_a_look_finds_what_nobody_has_told(near):
    """News may be late or lost: a look finds ends all the same, and until it is done the pods are not settled."""
    engine = Forgetful(images={OURS: {}})
    async with rigged(engine, near) as rig:
        await rig.stand()
        key = await rig.begin(TOOL)
        await rig.until(lambda: rig.pods.settled() == [])
        rig.deafen()
        engine.end(rig.ids("container")["netlab_lab_default_p_tool_0"], 3)
        rig.pods.look_again()
        waits = rig.pods.settled()
        await rig.until(lambda: rig.pods.settled() == [])

        assert waits == ["the engine to be asked for the pods' containers"]
        assert Ended(key, 3) in rig.news


@pytest.mark.parametrize("role", ["sandbox", "container"])
async def test_what_was_paused_goes_on(rig, role):
    """A container that somebody paused has not ended: the next look lets it go on, and nothing is lost."""
    await rig.stand()
    await rig.begin(TOOL)
    (paused,) = rig.ids(role).values()
    rig.engine.pause(paused)
    rig.news.clear()
    rig.pods.look_again()
    await rig.until(lambda: rig.pods.settled() == [])

    assert [Changed()] == rig.news
    assert {"running"} == {container.state for container in rig.engine.containers({})}


async def test_what_starts_during_a_look_is_no_loss(near):
    """The engine's answer may be older than a container that has just been started: its absence means nothing."""
    engine = Forgetful(images={OURS: {}})
    async with rigged(engine, near) as rig:
        await rig.until(lambda: rig.pods.settled() == [])
        with engine.slow_to_list():
            rig.pods.look_again()
            await rig.until(lambda: engine.listed)
            await rig.stand()
            key = await rig.begin(TOOL)
        await rig.until(lambda: rig.pods.settled() == [])

        assert rig.about(key) == ["Began"]
        assert SandboxLost("u") not in rig.news


async def test_release_removes_everything(rig):
    """A released pod is held until all its containers are gone, also one that is just being started."""
    await rig.stand()
    await rig.begin(TOOL)
    rig.pods.start(rig.run(SERVER))
    await rig.pods.carry_out(["node1"])
    rig.news.clear()
    rig.pods.release("u")
    held = rig.pods.holds("u")
    await rig.until(lambda: Changed("u") in rig.news)

    assert (held, rig.pods.holds("u"), rig.engine.containers({})) == (True, False, [])


async def test_release_waits_for_what_is_being_started(near):
    """A container that the engine makes between the list and the removal would be nobody's: starts in flight are waited for."""
    engine = Racing(images={OURS: {}})
    async with rigged(engine, near) as rig:
        await rig.stand()
        rig.pods.start(rig.run(TOOL))
        await rig.pods.carry_out(["node1"])
        await rig.until(engine.asked.is_set)
        rig.news.clear()
        rig.pods.release("u")
        await asyncio.sleep(0.05)  # a removal that waits for nothing has made its list
        engine.go.set()
        await rig.until(lambda: Changed("u") in rig.news)

        assert engine.containers({}) == []


async def test_an_ended_run_that_somebody_starts_again_is_removed(rig):
    """`docker start` of a container that the kubelet knows as ended would be a second one."""
    await rig.stand()
    key = await rig.begin(TOOL)
    (container,) = rig.ids("container").values()
    rig.engine.end(container, 0)
    await rig.until(lambda: Ended(key, 0) in rig.news)
    rig.engine.start_again([container])
    await rig.until(lambda: rig.ids("container") == {})


async def test_a_new_daemon_finds_what_runs(engine, near):
    """Runs go on, an end is known with its code, a newer run counts, and what belongs to nobody is removed."""
    async with rigged(engine, near) as first:
        await first.stand()
        web, tool = await first.begin(SERVER), await first.begin(TOOL, 1)
        known = engine.specs[first.ids("container")["netlab_lab_default_p_web_0"]]
        engine.start([replace(known, name="stray", labels={**known.labels, OWNER_LABEL: "gone"})])
    engine.end(first.ids("container")["netlab_lab_default_p_tool_1"], 9)
    async with rigged(engine, near) as second:
        await second.stand()
        outcome = [second.pods.take_over(second.run(SERVER)), second.pods.take_over(second.run(TOOL, 1))]
        lost = second.pods.take_over(Run(POD, Container(name="other"), 0, PATH, "", PodFiles(near)))
        engine.end(second.ids("container")["netlab_lab_default_p_web_0"], 4)
        await second.until(lambda: Ended(web, 4) in second.news)

    assert outcome == [None, Ended(tool, 9)]
    assert lost is not None
    assert sorted(c.name for c in engine.containers({})) == [
        "netlab_lab_default_p", "netlab_lab_default_p_tool_1", "netlab_lab_default_p_web_0",
    ]  # fmt: skip


@pytest.mark.parametrize(("happens", "code"), [("end", 137), ("remove", None)])
async def test_what_happens_to_a_container_before_it_is_taken_over(engine, near, happens, code):
    """Between finding a container and taking it over its end is heard, with its code; one that is removed has no code."""
    async with rigged(engine, near) as first:
        await first.stand()
        key = await first.begin(TOOL)
    async with rigged(engine, near) as second:
        await second.stand()
        (container,) = second.ids("container").values()
        engine.signal([container], "SIGKILL") if happens == "end" else engine.remove([container])
        await asyncio.sleep(0)  # the news have come
        end = second.pods.take_over(second.run(TOOL))

    assert (end.key, end.code) == (key, code)


async def test_a_run_that_nobody_wrote_down_is_taken_over(engine, near):
    """A daemon that was killed between start and status left a container: the run has begun, no second one is made."""
    async with rigged(engine, near) as first:
        await first.stand()
        await first.begin(TOOL)
    async with rigged(engine, near) as second:
        await second.stand()
        before = first.ids("container")
        key = await second.begin(TOOL)

    assert (second.about(key), second.ids("container")) == (["Began"], before)
    assert any(isinstance(item, Began) and item.identity == f"docker://{next(iter(before.values()))}" for item in second.news)


async def test_a_server_that_nobody_wrote_down_begins_anew(engine, tmp_path):
    """It said that it listens to a daemon that was being killed: the next one does not take that for granted."""
    async with rigged(engine, tmp_path) as first:
        await first.stand()
        await first.begin(SERVER)
    before = first.ids("container")
    async with rigged(engine, tmp_path) as second:
        await second.stand()
        run = second.run(SERVER)
        second.pods.start(run)
        await second.pods.carry_out(["node1"])
        await second.until(lambda: (tracked := second.pods._runs.get(run.key.place)) and tracked.container)
        told = second.about(run.key)
        second.listen(run.key)
        await second.until(lambda: second.about(run.key))

    assert (told, second.about(run.key)) == ([], ["Began"])
    assert second.ids("container").keys() == before.keys()
    assert second.ids("container") != before


async def test_a_server_that_is_on_record_goes_on(engine, tmp_path):
    """One that had begun, as the API's status says, had said that it listens: it is taken over."""
    async with rigged(engine, tmp_path) as first:
        await first.stand()
        await first.begin(SERVER)
    before = first.ids("container")
    async with rigged(engine, tmp_path) as second:
        await second.stand()

        assert second.pods.take_over(second.run(SERVER)) is None
        assert second.pods._runs.get(("u", "web")).works

    assert second.ids("container") == before


async def test_a_holder_whose_end_nobody_told_is_lost(rig):
    """It ended while the engine was away: it is there, with the start that it had, and does not run. A look finds that."""
    await rig.stand()
    rig.deafen()
    (holder,) = rig.ids("sandbox").values()
    rig.engine.end(holder, 137)
    rig.pods.look_again()
    await rig.until(lambda: SandboxLost("u") in rig.news)

    assert rig.pods._holders.get("u") is None


@pytest.mark.parametrize("marks", [{}, {"netlab/run": "x"}, {"netlab/run": "9" * 5000}, {"netlab/run": "\u00b2"}])
def test_labels_that_somebody_else_made_are_no_run(marks):
    """A container with a lab's label and nonsense for the rest does not keep the kubelet from beginning."""
    assert key_of(marks) == RunKey("", "", -1)
