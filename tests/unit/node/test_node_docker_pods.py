"""What is particular to pods as containers; `podcontract` has what all runtimes share."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from podworlds import SERVER, UID, WORKLOADS, FakeEngineWorld

from netlab.api.pods import Container
from netlab.engine import protocol
from netlab.engine.fake import FakeEngine
from netlab.engine.protocol import LAB_LABEL, NO_NETWORK, OWNER_LABEL, ROLE_LABEL, ContainerSpec
from netlab.errors import EngineError, UnsupportedHostError
from netlab.kernel.door import Occupant
from netlab.node.pods.docker.containers import CONTAINER, NODE, SANDBOX
from netlab.node.pods.runtime import (
    SANDBOX_REFUSED,
    STARTING,
    Began,
    Changed,
    Ended,
    Run,
    RunKey,
    SandboxLost,
    Stop,
)
from netlab.process.podfiles import PodFiles
from netlab.state import StateDirectory

Hook = Callable[[Any], None]  # gets a call's first argument; may raise
TOOL = RunKey(UID, "tool", 0)
PREFIX = "netlab_lab_default_p"
DEADLINE = 10.0
NO_ANSWER = EngineError("the container engine did not answer")
AWAY = UnsupportedHostError("cannot connect to /run/engine")


class HookedEngine(FakeEngine):
    """The fake engine, with what a test does before and after calls, by the call's name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.calls: list[tuple[str, Any]] = []  # names and first arguments
        self.before: dict[str, Hook] = defaultdict(lambda: lambda _argument: None)
        self.after: dict[str, Hook] = defaultdict(lambda: lambda _argument: None)
        self.loses_events = False

    def _hooked(self, name: str, call: Callable[..., Any], first: Any, *others: Any) -> Any:
        self.calls.append((name, first))
        self.before[name](first)
        result = call(first, *others)
        self.after[name](first)
        return result

    def start(self, specs: Sequence[ContainerSpec]) -> list[protocol.Container]:
        return self._hooked("start", super().start, specs)

    def containers(self, labels: Mapping[str, str]) -> list[protocol.Container]:
        return self._hooked("containers", super().containers, labels)

    def signal(self, ids: Sequence[str], signal: str) -> None:
        self.calls.append((signal, ids))
        super().signal(ids, signal)

    def remove(self, ids: Sequence[str]) -> None:
        self._hooked("remove", super().remove, ids)

    def run(self, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:
        return self._hooked("run", super().run, container, argv, limit)

    def events(self, labels: Mapping[str, str], callback: Hook) -> Callable[[], None]:
        return super().events(labels, lambda event: self.loses_events or callback(event))

    def count(self, name: str) -> int:
        return sum(name == called for called, _ in self.calls)


def refuses(error: Exception, *, times: int = 1, role: str = "") -> Hook:
    """Return a hook that raises so many times, of `start` where a container has this role."""
    left = [error] * times

    def hook(argument: Any) -> None:
        if left and (not role or any(spec.labels[ROLE_LABEL] == role for spec in argument)):
            raise left.pop()

    return hook


class World(FakeEngineWorld):
    """A world whose pod may have been asked for more than once."""

    fake: HookedEngine

    def __init__(self, engine: HookedEngine, root: Path) -> None:
        state = StateDirectory("lab", root)
        state.create()
        super().__init__(state, engine)

    async def problem(self) -> str:
        """Ask for the pod's namespace; returns why it is not there."""
        found = await asyncio.to_thread(self.pods.make_namespaces, {self.path: self.pod})
        return found.get(UID, "")

    async def make_namespace(self) -> None:
        """Ask until it is there: a failed attempt is repeated only when it is asked for again."""
        async with asyncio.timeout(DEADLINE):
            while await self.problem():
                await self.pause()

    async def eventually(self, condition: Callable[[], object]) -> None:
        """Wait for what no event says."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await self.pause()

    async def start_mute(self, run: Run) -> None:
        """Start a server that does not listen yet."""
        self.mute = True
        self.pods.start(run)
        await self.pods.carry_out(["node1"])
        async with asyncio.timeout(DEADLINE):
            while not (await self.pods.probe(run, ("true",), 1.0)).success:
                await self.pause()

    async def run_out(self, number: int) -> None:
        """Start the program and let it end."""
        key = await self.begin(self.program, number)
        await self.finish(key)
        await self.ended(key)

    def ids(self, role: str) -> dict[str, str]:
        return {container.name: container.id for container in self.containers(role)}

    def is_bound_to(self, sandbox: protocol.Container) -> bool:
        """Tell whether the pod's path is this container's namespace."""
        return self.kernel.bind_namespaces({self.path: sandbox.network_namespace}) == ()


@pytest.fixture
def engine():
    return HookedEngine()


@pytest.fixture
async def world(engine, near):
    async with daemon(engine, near) as world:
        yield world


@contextlib.asynccontextmanager
async def daemon(engine: HookedEngine, root: Path):
    world = World(engine, root)
    await world.start()
    try:
        yield world
    finally:
        await world.crash()


# ---- sandboxes
async def test_namespace_is_the_sandbox_containers(world):
    """A pod without sandbox gets one, whose namespace has the pod's path; a look later, too."""
    first = await world.problem()
    await world.until(lambda: Changed(UID) in world.events)
    (sandbox,) = world.containers(SANDBOX)

    assert (first, await world.problem()) == (STARTING, "")
    assert world.is_bound_to(sandbox)
    assert world.fake.specs[sandbox.id].stop_signal == "SIGKILL"  # `sleep` ignores SIGTERM
    assert [Path(world.path).name] == [path.name for path in world.state.namespaces.iterdir()]


async def test_removed_name_is_bound_again(world):
    """`ip netns delete` of a pod removes the name alone: the sandbox goes on and gets it back."""
    await world.make_namespace()
    (before,) = world.containers(SANDBOX)
    world.kernel.delete_namespaces([world.path])
    await world.make_namespace()

    assert world.containers(SANDBOX) == [before]
    assert world.is_bound_to(before)


@pytest.mark.parametrize("found", [Occupant.NAMESPACE, Occupant.OTHER, Occupant.NAME])
async def test_foreign_namespace_is_refused(world, found):
    """What the lab did not make at the pod's path stays, and the pod says what to do (S5)."""
    world.kernel.occupants[world.path] = found
    async with asyncio.timeout(DEADLINE):
        while not (problem := await world.problem()).startswith(SANDBOX_REFUSED):
            await world.pause()

    assert f"{world.path} exists but was not created by lab 'lab'. Remove it" in problem
    assert not world.kernel.namespace_exists(world.path)
    assert list(world.state.namespaces.iterdir()) == []


async def test_lost_sandbox_takes_its_containers_along(world):
    """When a sandbox ends, what ran in its network ends, and another sandbox is made."""
    await world.make_namespace()
    key = await world.begin(world.program)
    (old,) = world.ids(SANDBOX).values()
    world.fake.remove([old])
    await world.until(lambda: {SandboxLost(UID), Ended(key, 137)} <= set(world.events))
    await world.make_namespace()

    assert [old] != list(world.ids(SANDBOX).values())


async def test_lost_sandbox_is_replaced_when_engine_is_back(world):
    """While the engine is away no attempt succeeds; the first that does replaces what has ended."""
    await world.make_namespace()
    (old,) = world.ids(SANDBOX).values()
    world.fake.before["start"] = refuses(AWAY, times=2)
    world.fake.end(old, 137)
    await world.until(lambda: SandboxLost(UID) in world.events)
    await world.make_namespace()

    assert [old] != list(world.ids(SANDBOX).values())
    assert world.fake.count("start") == 4


@pytest.mark.parametrize("again", [False, True], ids=["ended", "was started again"])
async def test_sandbox_that_ended_unreported_is_lost(world, again):
    """A look finds a sandbox that ended while no event came, also if somebody started it again."""
    await world.make_namespace()
    (sandbox,) = world.ids(SANDBOX).values()
    world.fake.loses_events = True
    world.fake.end(sandbox, 137)
    if again:
        world.fake.start_again([sandbox])
    world.pods.look_again()
    await world.until(lambda: SandboxLost(UID) in world.events)

    assert await world.problem() == STARTING


# ---- runs begin
async def test_server_begins_when_it_listens(world):
    """A program runs when the engine says so, a server when it listens; both in one network."""
    await world.make_namespace()
    tool, run = await world.begin(world.program), world.run(SERVER)
    await world.start_mute(run)
    before = world.about(run.key)
    world.listen(run.key)
    await world.until(lambda: world.about(run.key))
    (sandbox,) = world.ids(SANDBOX).values()

    assert (world.about(tool), before, world.about(run.key)) == (["Began"], [], ["Began"])
    networks = {spec.network for spec in world.fake.specs.values()}
    assert networks == {NO_NETWORK, f"container:{sandbox}"}


async def test_etc_has_a_size_before_a_container_has_it(world):
    """The writable folder has a limit: `cat /dev/zero > /etc/hosts` ends (CVE-2020-8557)."""
    await world.make_namespace()
    await world.begin(world.program)

    assert world.limited == [PodFiles(world.state.pod(UID)).etc]


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        (Container(name="c", image="none:1", image_pull_policy="IfNotPresent"), "ErrImagePull"),
        (Container(name="c", image="No Name:1"), "InvalidImageName"),
    ],
)
async def test_run_without_image_is_refused(world, container, reason):
    """The reason is Kubernetes' own."""
    await world.make_namespace()
    await world.begin(container)

    assert [reason] == [refused.reason for refused in world.refusals()]


async def test_start_that_fails_is_refused(world):
    """Whatever keeps a container from being started is the event of its run."""
    await world.make_namespace()
    for number, error in enumerate((AWAY, TypeError("unexpected"))):
        world.fake.before["start"] = refuses(error)
        await world.begin(world.program, number)

    assert [refused.reason for refused in world.refusals()] == [
        "RunContainerError",
        "CreateContainerError",
    ]


@pytest.mark.parametrize("role", [SANDBOX, CONTAINER])
async def test_start_whose_answer_is_lost_is_repeated(world, role):
    """An engine that goes away in the middle leaves a container: the next attempt replaces it."""
    world.fake.after["start"] = refuses(NO_ANSWER, role=role)
    await world.make_namespace()
    key = await world.begin(world.program)
    if role == CONTAINER:
        world.pods.start(world.run(world.program))
        await world.pods.carry_out(["node1"])
        await world.until(lambda: len(world.about(key)) > 1)

    assert world.about(key) == (["Refused", "Began"] if role == CONTAINER else ["Began"])
    assert (len(world.ids(SANDBOX)), len(world.ids(CONTAINER))) == (1, 1)
    assert world.process(key) is not None


# ---- runs end
@pytest.mark.parametrize("step", [Stop.END, Stop.KILL])
@pytest.mark.parametrize("name", ["web", "tool"])
async def test_steps_are_signals(world, name, step):
    """A server drains with SIGUSR1, a program does not; END is SIGTERM, KILL is SIGKILL."""
    await world.make_namespace()
    key = await world.begin(SERVER if name == "web" else world.program)
    world.pods.stop(key, Stop.DRAIN)
    await world.eventually(lambda: world.fake.count("SIGUSR1") == (name == "web"))
    world.pods.stop(key, step)
    await world.ended(key)
    signals = [called for called, _ in world.fake.calls if called.startswith("SIG")]

    drain, end = ["SIGUSR1"] * (name == "web"), "SIGTERM" if step is Stop.END else "SIGKILL"
    assert signals == [*drain, end]


async def test_stop_waits_until_server_listens(world):
    """Until then it has no handlers and would ignore signals, as process 1 of its container."""
    await world.make_namespace()
    run = world.run(SERVER)
    await world.start_mute(run)
    world.pods.stop(run.key, Stop.END)
    await world.pause()
    early = world.fake.count("SIGTERM")
    world.listen(run.key)
    await world.ended(run.key)

    assert (early, world.fake.count("SIGTERM")) == (0, 1)


async def test_old_container_goes_with_next_run(world):
    """An ended run's container stays, for its log, until the next run; it is removed once."""
    await world.make_namespace()
    kept = []
    for number in range(3):
        await world.run_out(number)
        await world.eventually(lambda: len(world.ids(CONTAINER)) == 1)
        kept += world.ids(CONTAINER).items()
    removed = [list(ids) for called, ids in world.fake.calls if called == "remove" and ids]

    assert [name for name, _ in kept] == [f"{PREFIX}_tool_{n}" for n in range(3)]
    assert removed == [[container] for _, container in kept[:2]]


async def test_container_that_could_not_be_removed_goes_with_next_run(world):
    """An ended run's container that the engine did not remove is not forgotten."""
    await world.make_namespace()
    await world.run_out(0)
    (first,) = world.ids(CONTAINER).values()
    world.fake.before["remove"] = lambda ids: refuses(NO_ANSWER)(ids) if ids else None
    await world.run_out(1)
    await world.eventually(lambda: ("remove", (first,)) in world.fake.calls)
    del world.fake.before["remove"]
    await world.begin(world.program, 2)
    await world.eventually(lambda: list(world.ids(CONTAINER)) == [f"{PREFIX}_tool_2"])


async def test_engine_restart_ends_everything(world):
    """After the engine's restart nothing runs: every run has ended and every sandbox is lost."""
    await world.make_namespace()
    key = await world.begin(world.program)
    world.fake.lose()
    await world.until(lambda: {SandboxLost(UID), Ended(key, 137)} <= set(world.events))


async def test_ended_run_that_is_started_again_is_removed(world):
    """`docker start` of a container that the kubelet knows as ended would be a second one."""
    await world.make_namespace()
    key = await world.begin(world.program)
    await world.finish(key)
    await world.ended(key)
    world.fake.start_again(list(world.ids(CONTAINER).values()))
    await world.eventually(lambda: world.ids(CONTAINER) == {})


async def test_probe_fails_while_engine_is_away(world):
    """It fails with the reason: an engine that restarts may leave its containers running."""
    await world.make_namespace()
    await world.begin(world.program)
    world.fake.before["run"] = refuses(AWAY)
    result = await world.pods.probe(world.run(world.program), ("true",), 1.0)

    assert (result.success, result.message) == (False, "cannot connect to /run/engine")


async def test_host_network_ends_with_its_node(world):
    """A run of the host's network is in the node's container; when that ends, so does the run."""
    marks = {LAB_LABEL: "lab", ROLE_LABEL: NODE, OWNER_LABEL: "node1"}
    spec = msgspec.structs.replace(world.pod.spec, host_network=True)
    world.pod = msgspec.structs.replace(world.pod, spec=spec)
    refused = await world.begin(world.program)
    (node,) = world.fake.start([ContainerSpec("node1", WORKLOADS, marks)])
    key = await world.begin(world.program, 1)
    world.fake.end(node.id)

    assert await world.ended(key) == 137
    assert world.about(refused) == ["Refused"]
    assert world.fake.specs[world.container(key).id].network == f"container:{node.id}"


# ---- a look at everything
async def test_look_finds_lost_events(world):
    """Events may be late or lost: a look finds ends, and it is not settled until then."""
    await world.make_namespace()
    key = await world.begin(world.program)
    await world.until(lambda: world.pods.settled() == [])
    world.fake.loses_events = True
    await world.finish(key)
    world.pods.look_again()
    waits = world.pods.settled()
    await world.until(lambda: world.pods.settled() == [])

    assert waits == ["the list of the pods' containers from the engine"]
    assert Ended(key, 3) in world.events


async def test_look_is_repeated_while_engine_is_away(engine, near):
    """A look that fails is tried again by itself; until one succeeds it is not settled."""
    world = World(engine, near)
    world.retry = 0.0
    await world.start()
    await world.until(lambda: world.pods.settled() == [])
    before = engine.count("containers")
    engine.before["containers"] = refuses(AWAY, times=2)
    world.pods.look_again()
    await world.until(lambda: world.pods.settled() == [])
    await world.crash()

    assert engine.count("containers") == before + 3


@pytest.mark.parametrize("role", [SANDBOX, CONTAINER])
async def test_paused_container_goes_on(world, role):
    """A container that somebody paused has not ended: the next look resumes it."""
    await world.make_namespace()
    await world.begin(world.program)
    await world.until(lambda: world.pods.settled() == [])
    (paused,) = world.ids(role).values()
    world.fake.pause(paused)
    world.events.clear()
    world.pods.look_again()
    await world.until(lambda: world.pods.settled() == [])

    assert world.events == [Changed()]
    assert {container.state for container in world.containers(role)} == {"running"}


async def test_container_started_during_look_is_no_loss(world):
    """The engine's list may be older than a container: then its absence means nothing."""
    await world.until(lambda: world.pods.settled() == [])
    listed, answer = threading.Event(), threading.Event()

    def slow(_labels: Mapping[str, str]) -> None:
        del world.fake.after["containers"]  # the next one is not slow
        listed.set()
        answer.wait(DEADLINE)

    world.fake.after["containers"] = slow
    world.pods.look_again()
    await asyncio.to_thread(listed.wait, DEADLINE)
    await world.make_namespace()
    key = await world.begin(world.program)
    answer.set()
    await world.until(lambda: world.pods.settled() == [])

    assert world.about(key) == ["Began"]
    assert SandboxLost(UID) not in world.events


# ---- release
async def test_release_waits_for_what_is_being_started(world):
    """The list of what to remove is made after every start in flight: later ones would stay."""
    await world.make_namespace()
    asked, go, started = (threading.Event() for _ in range(3))

    def wait(_specs: Sequence[ContainerSpec]) -> None:
        asked.set()
        go.wait(DEADLINE)

    def end_of_wait(ids: Sequence[str]) -> None:
        if ids:
            go.set()
            started.wait(DEADLINE)

    world.fake.before["start"], world.fake.before["remove"] = wait, end_of_wait
    world.fake.after["start"] = lambda _specs: started.set()
    world.pods.start(world.run(world.program))
    await world.pods.carry_out(["node1"])
    await asyncio.to_thread(asked.wait, DEADLINE)
    world.events.clear()
    world.pods.release(UID)
    held = world.pods.holds(UID)
    await asyncio.sleep(0.05)  # a removal that does not wait has made its list
    go.set()
    await world.until(lambda: Changed(UID) in world.events)

    assert (held, world.pods.holds(UID)) == (True, False)
    assert world.fake.containers({}) == []


async def test_release_is_repeated_while_engine_refuses(engine, near):
    """A removal that fails is tried again by itself, and the pod is held until it succeeds."""
    world = World(engine, near)
    world.retry = 0.0
    await world.start()
    await world.make_namespace()
    engine.before["remove"] = refuses(NO_ANSWER, times=2)
    world.events.clear()
    world.pods.release(UID)
    await world.until(lambda: Changed(UID) in world.events)
    await world.crash()

    assert (world.pods.holds(UID), engine.containers({})) == (False, [])


# ---- another daemon
async def test_new_daemon_finds_what_runs(engine, near):
    """Runs go on, an end is known with its code, and what belongs to no known pod is removed."""
    async with daemon(engine, near) as first:
        await first.make_namespace()
        web, tool = await first.begin(SERVER), await first.begin(first.program, 1)
        before = first.ids(CONTAINER)
        known = engine.specs[first.container(web).id]
        engine.start([replace(known, name="stray", labels={**known.labels, OWNER_LABEL: "gone"})])
    engine.end(first.container(tool).id, 9)
    async with daemon(engine, near) as second:
        await second.make_namespace()
        wanted = (SERVER, 0), (second.program, 1), (Container(name="other"), 0)
        runs = [second.run(container, number) for container, number in wanted]
        *taken, lost = [second.pods.take_over(run) for run in runs]
        engine.end(second.container(web).id, 4)

        assert await second.ended(web) == 4

    assert taken == [None, Ended(tool, 9)]
    assert lost is not None
    assert second.ids(CONTAINER) == before


async def test_container_that_ended_without_daemon_goes_with_next_run(engine, near):
    """A run that is over when it is taken over has left a container, too."""
    async with daemon(engine, near) as first:
        await first.make_namespace()
        await first.begin(first.program)
    await first.finish(TOOL)
    async with daemon(engine, near) as second:
        await second.make_namespace()
        end = second.pods.take_over(second.run(second.program))
        await second.begin(second.program, 1)
        await second.eventually(lambda: list(second.ids(CONTAINER)) == [f"{PREFIX}_tool_1"])

    assert end == Ended(TOOL, 3)


async def test_newest_run_of_a_container_counts(engine, near):
    """Of two runs that an earlier daemon left the newer one is kept."""
    async with daemon(engine, near) as first:
        await first.make_namespace()
        key = await first.begin(first.program, 1)
        spec = engine.specs[first.container(key).id]
    older = {**spec.labels, "netlab/run": "0"}
    engine.start([replace(spec, name=name, labels=older) for name in ("a", "z")])
    async with daemon(engine, near) as second:
        assert second.ids(CONTAINER) == {spec.name: second.container(key).id}


@pytest.mark.parametrize(("happens", "code"), [("end", 137), ("remove", None)])
async def test_end_between_recall_and_take_over(engine, near, happens, code):
    """The end of a container that was found has its code; one that is removed has none."""
    async with daemon(engine, near) as first:
        await first.make_namespace()
        key = await first.begin(first.program)
    async with daemon(engine, near) as second:
        await second.make_namespace()
        (container,) = second.ids(CONTAINER).values()
        engine.signal([container], "SIGKILL") if happens == "end" else engine.remove([container])
        await asyncio.sleep(0)  # the event has arrived
        end = second.pods.take_over(second.run(second.program))

    assert (end.key, end.code) == (key, code)


async def test_adopted_run_has_its_identity(engine, near):
    """A run that an earlier daemon left unrecorded has the identity of its container."""
    async with daemon(engine, near) as first:
        await first.make_namespace()
        key = await first.begin(first.program)
    async with daemon(engine, near) as second:
        await second.make_namespace()
        await second.begin(second.program)
        (began,) = [event for event in second.events if isinstance(event, Began)]

    assert began.identity == f"docker://{second.container(key).id}"


async def test_unrecorded_server_is_started_again(engine, near):
    """It reported that it listens to a dead daemon: the next one does not rely on that."""
    async with daemon(engine, near) as first:
        await first.make_namespace()
        key = await first.begin(SERVER)
        before = first.container(key)
    async with daemon(engine, near) as second:
        await second.make_namespace()
        await second.begin(SERVER)
        after = second.container(key)

    assert (second.about(key), before.name) == (["Began"], after.name)
    assert before.id != after.id
