"""A pod runtime in memory, for tests of what is above it: no process, no engine, no wait.

It keeps the contract of every `PodRuntime`: `tests/podcontract.py` runs the same cases against all
three. A container is an entry of `containers`. A run begins in `carry_out`; each event reaches the
listener before the call that caused it returns.

    FakePodRuntime(kernel)                        nothing runs yet
    FakePodRuntime(kernel, earlier.containers)    another daemon: it finds what the earlier one left

A test may set `refusals`, `ignores_term`, `kept`, `answer` and `on_start`, and calls `end` to let a
container's process end. `started`, `stopped` and `released` list what was asked for, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from netlab.api.pods import Container, Pod
from netlab.kernel.door import Kernel
from netlab.node.pods.builtin import builtin_of
from netlab.node.pods.readiness import Result
from netlab.node.pods.runtime import (
    KILLED,
    Began,
    Ended,
    Place,
    PodEvent,
    Refused,
    Run,
    RunKey,
    Stop,
    command_result,
    command_timed_out,
    stopped_early,
)

TERMINATED = 143  # the exit code of a process that SIGTERM ended
LOST = "The container was removed while the lab's daemon was not running."


@dataclass
class FakeContainer:
    """The newest run of a container: `code` is None while it runs, `output` what it wrote."""

    run: Run
    code: int | None = None
    output: str = ""


class FakePodRuntime:
    """Containers as values."""

    def __init__(
        self,
        kernel: Kernel,
        containers: dict[Place, FakeContainer] | None = None,
    ) -> None:
        self.environment: Mapping[str, str] = {}
        self.containers = {} if containers is None else containers
        self.refusals: dict[str, tuple[str, str]] = {}  # image -> reason and message of `Refused`
        self.ignores_term: set[str] = set()  # names of containers that Stop.END does not end
        self.kept: set[str] = set()  # uids of pods that are held after their release
        self.answer: Callable[[Run, Sequence[str]], tuple[int, str]] = lambda _run, _argv: (0, "")
        self.on_start: Callable[[Run], None] = lambda _run: None  # `start` calls it; may raise
        self.started: list[RunKey] = []
        self.stopped: list[tuple[RunKey, Stop]] = []
        self.released: list[str] = []
        self._kernel = kernel
        self._notify: Callable[[PodEvent], None] = lambda _event: None
        self._asked: list[Run] = []

    # ---- what a test does beside the kubelet
    def end(self, key: RunKey, code: int = 0, output: str = "") -> None:
        """Let the process of a run end, if it runs."""
        if container := self._running(key):
            container.code, container.output = code, output
            self._notify(Ended(key, code))

    # ---- PodRuntime
    def subscribe(self, listener: Callable[[PodEvent], None]) -> None:
        """Call `listener` with every event."""
        self._notify = listener

    async def run(self) -> None:
        """Wait until cancelled; containers keep running."""
        await asyncio.get_running_loop().create_future()

    async def recall(self, known: Collection[Place]) -> None:
        """Remove the containers that belong to no known place."""
        for place in self.containers.keys() - set(known):
            del self.containers[place]

    def make_namespaces(self, pods: Mapping[str, Pod]) -> Mapping[str, str]:
        """Make those that are missing, at once."""
        self._kernel.create_namespaces(list(pods))
        return {}

    def serves_on(self, _uid: str, container: Container) -> bool:
        """A built-in workload does."""
        return bool(builtin_of(container))

    def start(self, run: Run) -> None:
        """Have a run begin at the end of this round."""
        self.on_start(run)
        self.started.append(run.key)
        self._asked.append(run)

    def take_over(self, run: Run) -> Ended | None:
        """Continue a run that an earlier daemon started."""
        container = self.containers.get(run.key.place)
        if container is None or container.run.key != run.key:
            return Ended(run.key, None, LOST)
        return None if container.code is None else Ended(run.key, container.code)

    def stop(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end."""
        self.stopped.append((key, step))
        container = self._running(key)
        if any(run.key == key for run in self._asked):
            self._asked = [run for run in self._asked if run.key != key]
            self._notify(stopped_early(key))
        elif container is None:
            if step is Stop.KILL:
                self._notify(Ended(key, None))
        elif step is Stop.KILL:
            self.end(key, KILLED)
        elif step is Stop.END and key.container not in self.ignores_term:
            self.end(key, 0 if builtin_of(container.run.container) else TERMINATED)

    def release(self, uid: str) -> None:
        """Remove everything of a pod."""
        self.released.append(uid)
        self._asked = [run for run in self._asked if run.key.uid != uid]
        for place in [place for place in self.containers if place[0] == uid]:
            del self.containers[place]

    def holds(self, uid: str) -> bool:
        """Return whether a test keeps something of a released pod."""
        return uid in self.kept

    async def carry_out(self, _nodes: Collection[str]) -> None:
        """Begin what was asked for."""
        asked, self._asked = self._asked, []
        for run in asked:
            if refusal := self.refusals.get(run.container.image):
                self._notify(Refused(run.key, *refusal))
                continue
            if not self._running(run.key):
                self.containers[run.key.place] = FakeContainer(run)
            self._notify(Began(run.key, identity="fake://{}/{}/{}".format(*run.key)))

    async def probe(self, run: Run, argv: tuple[str, ...], limit: float) -> Result:
        """Return what `answer` specifies: exit code and output, or TimeoutError."""
        try:
            return command_result(*self.answer(run, argv))
        except TimeoutError:
            return command_timed_out(argv, limit)

    def look_again(self) -> None:
        """Do nothing: events are never late."""

    def settled(self) -> list[str]:
        """Nothing takes time."""
        return []

    # ---- within
    def _running(self, key: RunKey) -> FakeContainer | None:
        container = self.containers.get(key.place)
        if container is None or container.run.key != key or container.code is not None:
            return None
        return container
