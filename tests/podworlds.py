"""What a pod runtime runs in, with one daemon: a common face for the cases of `podcontract`.

A world has one pod with two containers: `SERVER`, a built-in workload, and a program that runs
until `finish`, then writes "hello" and ends with code 3. `start` begins a daemon, `crash` ends it
and leaves its containers; the next `start` is another daemon's.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from netlab.api.meta import ObjectMeta
from netlab.api.pods import Container, Pod, PodSpec
from netlab.dataplane.names import namespace_path, pod_namespace
from netlab.engine import protocol
from netlab.engine.fake import FakeEngine
from netlab.engine.protocol import LAB_LABEL, ROLE_LABEL, Engine, Event
from netlab.kernel.door import Kernel
from netlab.kernel.fake import FakeKernel
from netlab.node.pods.docker.containers import CONTAINER, SERVER_LABEL, key_of
from netlab.node.pods.docker.pods import DockerPods
from netlab.node.pods.fake import FakePodRuntime
from netlab.node.pods.runtime import Changed, Ended, PodEvent, PodRuntime, Refused, Run, RunKey
from netlab.process.podfiles import Environment, PodFiles
from netlab.state import StateDirectory
from netlab.workloads.container import tell
from netlab.workloads.protocol import ServerStatus

UID = "u"
WORKLOADS = "netlab/workloads:1"  # the image of netlab's own workloads, in a fake engine
SERVER = Container(name="web", image="nginx")
# As the first process of a container a program without a handler would ignore SIGTERM.
SCRIPT = 'trap "exit 143" TERM; while [ ! -e {} ]; do sleep 0.05; done; echo hello; exit 3'
UNAVAILABLE = Container(name="tool", image="none:1", image_pull_policy="Never")
KNOWN = frozenset({(UID, "web"), (UID, "tool")})
ANSWERS = {  # of a fake's probe
    ("true",): (0, "x"),
    ("false",): (1, ""),
    ("sh", "-c", "echo broken; exit 3"): (3, "broken\n"),
}


def answer(argv: Sequence[str]) -> tuple[int, str]:
    """What a fake answers to a probe's command; one that it does not know takes too long."""
    if tuple(argv) not in ANSWERS:
        raise TimeoutError
    return ANSWERS[tuple(argv)]


class PodWorld(ABC):
    """A world, and the daemon that is there."""

    deadline = 10.0  # seconds for one event
    pods: PodRuntime

    def __init__(self, state: StateDirectory) -> None:
        self.state = state
        self.path = namespace_path(pod_namespace(state.lab, "default", "p"))
        command = ("sh", "-c", SCRIPT.format(self.end_mark))
        self.program = Container(name="tool", image="busybox", command=command)
        spec = PodSpec(node_name="node1", containers=(SERVER, self.program))
        self.pod = Pod(metadata=ObjectMeta(name="p", namespace="default", uid=UID), spec=spec)
        self.events: list[PodEvent] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ---- of the world
    @property
    def end_mark(self) -> str:
        """The file that the program waits for."""
        return str(self.state.root / "end")

    @abstractmethod
    async def make_runtime(self) -> PodRuntime:
        """Return the runtime of another daemon."""

    @abstractmethod
    def process(self, key: RunKey) -> object:
        """Return what identifies the process of a run of the program, None when it does not run."""

    @abstractmethod
    async def finish(self, key: RunKey) -> None:
        """Have the program end by itself."""

    @abstractmethod
    def kill(self, key: RunKey) -> None:
        """Have somebody else kill the program."""

    @abstractmethod
    async def log(self, key: RunKey) -> str:
        """Return what a run of the program wrote, once it is stored."""

    # ---- of the daemon
    async def start(self, known: frozenset[tuple[str, str]] = KNOWN) -> None:
        self.events = []
        self.pods = await self.make_runtime()
        self.pods.subscribe(self._heard)
        self._task = asyncio.create_task(self.pods.run())
        await self.pods.recall(known)

    async def crash(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _heard(self, event: PodEvent) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what an event says."""
        async with asyncio.timeout(self.deadline):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def pause(self) -> None:
        """Wait for what no event says."""
        await asyncio.sleep(0.01)

    async def make_namespace(self) -> None:
        while await asyncio.to_thread(self.pods.make_namespaces, {self.path: self.pod}):
            await self.until(lambda: Changed(UID) in self.events)
            self.events.remove(Changed(UID))

    def run(self, container: Container, number: int = 0) -> Run:
        files = PodFiles(self.state.pod(UID))
        files.etc.mkdir(parents=True, exist_ok=True)
        for name in ("resolv.conf", "hosts", "hostname"):
            (files.etc / name).touch()
        given = Environment(given=dict(self.pods.environment))
        return Run(self.pod, container, number, self.path, "10.244.1.2", files, given)

    async def begin(self, container: Container, number: int = 0) -> RunKey:
        """Ask for a run and wait for its first event."""
        run = self.run(container, number)
        self.pods.start(run)
        await self.pods.carry_out(["node1"])
        await self.until(lambda: self.about(run.key))
        return run.key

    async def ended(self, key: RunKey) -> int | None:
        """Wait for a run's end; returns its code."""
        await self.until(lambda: self.ends(key))
        (end,) = self.ends(key)
        return end.code

    def ends(self, key: RunKey) -> list[Ended]:
        return [event for event in self.events if isinstance(event, Ended) and event.key == key]

    def about(self, key: RunKey) -> list[str]:
        """The kinds of events there were of a run."""
        return [type(event).__name__ for event in self.events if getattr(event, "key", None) == key]

    def refusals(self) -> list[Refused]:
        return [event for event in self.events if isinstance(event, Refused)]


class FakeWorld(PodWorld):
    """The shipped fake."""

    def __init__(self, state: StateDirectory) -> None:
        super().__init__(state)
        self._kernel = FakeKernel()
        self._containers: dict[Any, Any] = {}

    async def make_runtime(self) -> PodRuntime:
        self.fake = FakePodRuntime(self._kernel, self._containers)
        self.fake.answer = lambda _run, argv: answer(argv)
        self.fake.refusals[UNAVAILABLE.image] = ("ErrImageNeverPull", "not present")
        return self.fake

    def process(self, key: RunKey) -> object:
        found = self._containers.get(key.place)
        return found if found and found.run.key == key and found.code is None else None

    async def crash(self) -> None:
        await super().crash()
        self.fake.subscribe(lambda _event: None)  # a dead daemon learns nothing

    async def finish(self, key: RunKey) -> None:
        self.fake.end(key, 3, "hello\n")

    def kill(self, key: RunKey) -> None:
        self.fake.end(key, 137)

    async def log(self, key: RunKey) -> str:
        return str(self._containers[key.place].output)


class DockerWorld(PodWorld):
    """Containers of an engine."""

    end_mark = "/tmp/end"
    retry = 1.0

    def __init__(
        self,
        state: StateDirectory,
        engine: Engine,
        kernel: Kernel,
        *,
        workloads: str,
        limit: Callable[[Path], None],
    ) -> None:
        super().__init__(state)
        self.engine, self.kernel = engine, kernel
        self._workloads, self._limit = workloads, limit

    async def make_runtime(self) -> PodRuntime:
        return DockerPods(
            engine=self.engine,
            kernel=self.kernel,
            state=self.state,
            domain="cluster.local",
            workloads=self._workloads,
            limit=self._limit,
            retry=self.retry,
        )

    def containers(self, role: str = CONTAINER) -> list[protocol.Container]:
        return self.engine.containers({LAB_LABEL: self.state.lab, ROLE_LABEL: role})

    def container(self, key: RunKey) -> protocol.Container:
        return next(container for container in self.containers() if key_of(container.labels) == key)

    def process(self, key: RunKey) -> object:
        found = [one for one in self.containers() if key_of(one.labels) == key and one.runs]
        return (found[0].id, found[0].started_at) if found else None

    async def finish(self, key: RunKey) -> None:
        touch = ["touch", self.end_mark]
        await asyncio.to_thread(self.engine.run, self.container(key).id, touch, self.deadline)

    def kill(self, key: RunKey) -> None:
        self.engine.signal([self.container(key).id], "SIGKILL")

    async def log(self, key: RunKey) -> str:
        return await asyncio.to_thread(self.engine.logs, self.container(key).id)


class FakeEngineWorld(DockerWorld):
    """Containers of the fake engine; a server listens when its container starts, unless `mute`."""

    kernel: FakeKernel

    def __init__(self, state: StateDirectory, engine: FakeEngine | None = None) -> None:
        self.fake = engine or FakeEngine()
        self.fake.images[WORKLOADS] = {}
        self.limited: list[Path] = []
        kernel, limit = FakeKernel(), self.limited.append
        super().__init__(state, self.fake, kernel, workloads=WORKLOADS, limit=limit)
        self.fake.answers = lambda _container, argv: answer(argv)
        self.mute = False
        self.fake.events({LAB_LABEL: state.lab}, self._happened)

    def _happened(self, event: Event) -> None:
        if event.action == "start" and event.labels.get(SERVER_LABEL) and not self.mute:
            self.listen(key_of(event.labels))

    def listen(self, key: RunKey) -> None:
        """Say that a server listens, as it does itself."""
        status = ServerStatus(key=f"{key.uid}/{key.container}", run=key.number)
        tell(str(self.state.socket("ready")), status)

    async def finish(self, key: RunKey) -> None:
        found = self.container(key)
        self.fake.written[found.name] = "hello\n"
        self.fake.end(found.id, 3)
