"""Pods of runtime `docker`: a sandbox container with a network namespace, and containers in it.

    asked for    one task each                          module               event
    namespace    sandbox started, its namespace bound   `docker_sandboxes`   Changed; SandboxLost
    run          image chosen, container started        `docker_manager`     see `docker_runs`
    release      all containers of the pod removed      here                 Changed

The engine takes a quarter of a second for a container and does many at once, so each has a separate
task, and the event loop waits for none. All state is the event loop's; threads only carry calls
to the engine (`docker_tasks`).

Labels hold the state: a new daemon finds sandboxes and containers by them (`recall`), continues
what runs in the right namespace, and removes what belongs to no pod. When a sandbox is lost its
containers are killed: no cable leads to their namespace any more; the kubelet starts them again in
the next one.

Events of the engine may be lost or late. A resync compares the recorded containers with the existing ones. Each
has a number, the generation: the runtime is settled when the newest has been completed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping

from netlab.containment import Containment
from netlab.engine import protocol
from netlab.engine.protocol import LAB_LABEL, OWNER_LABEL, PAUSED, ROLE_LABEL, Engine, Event
from netlab.errors import NetlabError
from netlab.kernel.door import Kernel
from netlab.node.pods.docker.containers import CONTAINER, NODE, SANDBOX, key_of
from netlab.node.pods.docker.manager import ContainerManager, Limit
from netlab.node.pods.docker.sandboxes import PodSandboxes
from netlab.node.pods.docker.tasks import PodTaskGroup
from netlab.node.pods.link import ReadySocket
from netlab.node.pods.readiness import Result
from netlab.node.pods.runtime import (
    Changed,
    Place,
    PodEvent,
    Run,
    RunKey,
    SandboxLost,
    Stop,
    command_result,
    command_timed_out,
    stopped_early,
)
from netlab.state import StateDirectory

OF_PODS = (SANDBOX, CONTAINER)  # roles
RETRY_SECONDS = 1.0  # after the engine refused
log = logging.getLogger("netlab.node")


class DockerPods:
    """The `PodRuntime` of containers. `workloads` is the image of netlab's own workloads.

    `retry`: seconds until the engine is asked again to list or remove containers when it refused.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        kernel: Kernel,
        state: StateDirectory,
        domain: str,
        workloads: str,
        limit: Limit,
        retry: float = RETRY_SECONDS,
    ) -> None:
        self.environment: Mapping[str, str] = {}  # the image contains the rest
        self._engine = engine
        self._lab = state.lab
        self._retry = retry
        self._tasks = PodTaskGroup()
        self._sandboxes = PodSandboxes(
            engine=engine,
            kernel=kernel,
            state=state,
            tasks=self._tasks,
            domain=domain,
            image=workloads,
            notify=self._notify,
        )
        self._containers = ContainerManager(
            engine=engine,
            tasks=self._tasks,
            sandboxes=self._sandboxes,
            state=state,
            workloads=workloads,
            limit=limit,
            notify=self._notify,
        )
        self.make_namespaces = self._sandboxes.make
        self.serves_on = self._containers.serves_on
        self.take_over = self._containers.take_over
        self._ready = ReadySocket(state, self._containers.server_listens)
        self._listener: Callable[[PodEvent], None] = lambda _event: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: list[Run] = []
        self._failed = Containment(log, "engine", time.monotonic)
        self._leaving: set[str] = set()  # uids being released
        self._resync_wanted = self._resync_done = 0  # generations
        self._early: list[Event] | None = []  # what happened before it was known what there is
        self._unlisten: Callable[[], None] | None = None

    def subscribe(self, listener: Callable[[PodEvent], None]) -> None:
        """Call `listener` with every event."""
        self._listener = listener

    def _notify(self, event: PodEvent) -> None:
        self._listener(event)

    async def run(self) -> None:
        """Wait until cancelled, then close what listens; containers keep running."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            if self._unlisten:
                await asyncio.to_thread(self._unlisten)
            self._ready.close()
            await self._tasks.close()

    async def recall(self, known: Collection[Place]) -> None:
        """Find what an earlier daemon left, and follow the engine's events from now on."""
        self._loop = asyncio.get_running_loop()
        self._sandboxes.open()
        await self._ready.open()
        if self._unlisten:  # an attempt before this one got so far
            await asyncio.to_thread(self._unlisten)
        call, lab = self._tasks.call, {LAB_LABEL: self._lab}
        self._unlisten = await call(self._engine.events, lab, self._receive)
        uids = {uid for uid, _ in known}
        strays = []
        for container in await call(self._engine.containers, lab):
            match container.labels.get(ROLE_LABEL):
                case "sandbox" if container.labels.get(OWNER_LABEL) in uids and container.runs:
                    self._sandboxes.adopt(container.labels[OWNER_LABEL], container)
                case "container" if key_of(container.labels).place in known:
                    strays += self._containers.adopt(container)
                case "sandbox" | "container":
                    strays.append(container.id)
        early, self._early = self._early, None
        for event in early or ():
            self._handle(event)
        await call(self._engine.remove, strays)

    # ---- what is asked for
    def start(self, run: Run) -> None:
        """Have a run begin at the end of this round."""
        self._asked.append(run)

    async def carry_out(self, nodes: Collection[str]) -> None:
        """Begin everything that was asked for at the same time."""
        del nodes
        asked, self._asked = self._asked, []
        for run in asked:
            self._containers.start(run)

    def stop(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end."""
        if any(run.key == key for run in self._asked):
            self._asked = [run for run in self._asked if run.key != key]
            self._notify(stopped_early(key))
        else:
            self._containers.stop(key, step)

    def release(self, uid: str) -> None:
        """Remove everything of a pod."""
        self._asked = [run for run in self._asked if run.key.uid != uid]
        self._sandboxes.forget(uid)
        self._leaving.add(uid)
        self._begin_removing(uid)

    def _begin_removing(self, uid: str) -> None:
        others = self._tasks.tasks(uid)
        self._tasks.start(uid, self._remove(uid, others), "remove")

    async def _remove(self, uid: str, others: tuple[asyncio.Task[None], ...]) -> None:
        """Remove a pod's containers after every start; repeated while the engine refuses."""
        await asyncio.gather(*others, return_exceptions=True)
        with self._failed.contain(f"removal of {uid}") as attempt:
            marks = {LAB_LABEL: self._lab, OWNER_LABEL: uid}
            listed = await self._tasks.call(self._engine.containers, marks)
            await self._tasks.call(self._engine.remove, [container.id for container in listed])
        if attempt.error is not None:
            asyncio.get_running_loop().call_later(self._retry, self._begin_removing, uid)
            return
        self._containers.forget(uid)
        self._leaving.discard(uid)
        self._notify(Changed(uid))

    def holds(self, uid: str) -> bool:
        """Return whether a released pod's containers are still being removed."""
        return uid in self._leaving

    async def probe(self, run: Run, argv: tuple[str, ...], limit: float) -> Result:
        """Run a command in the container."""
        container = self._containers.container_id(run.key.place)
        if not container:
            return Result(success=False, message="the container is not running")
        try:
            code, output = await self._tasks.call(self._engine.run, container, argv, limit)
        except TimeoutError:
            return command_timed_out(argv, limit)
        except NetlabError as error:  # also an engine that is away: the next probe may succeed
            return Result(success=False, message=error.message)
        return command_result(code, output)

    def settled(self) -> list[str]:
        """Nothing is waited for but a resync: containers may have changed without an event."""
        is_done = self._resync_done == self._resync_wanted
        return [] if is_done else ["the list of the pods' containers from the engine"]

    # ---- what happens
    def _receive(self, event: Event) -> None:
        """Take an event of the engine. Called in its thread."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._handle, event)

    def _handle(self, event: Event) -> None:
        role, owner = event.labels.get(ROLE_LABEL), event.labels.get(OWNER_LABEL, "")
        if self._early is not None:
            self._early.append(event)
        elif event.action == protocol.CONNECTED:
            self.look_again()
        elif role == CONTAINER:
            self._containers.handle(event, leaving=owner in self._leaving)
        elif event.action == "start":
            return
        elif role == SANDBOX:
            if self._sandboxes.has_ended(owner, event.id):
                self._lose(owner)
        elif role == NODE:  # its namespace is gone; runs of the host network in it are unreachable
            self._containers.kill(lambda run: _is_on_node(run, owner))
            self._notify(Changed())  # the node is not ready any more

    def _lose(self, uid: str) -> None:
        """A sandbox has ended: whatever ran in its namespace starts again in the next one."""
        self._containers.kill(lambda run: run.key.uid == uid)
        log.warning("uid=%s sandbox=lost", uid)
        self._notify(SandboxLost(uid))

    def look_again(self) -> None:
        """Compare the recorded containers with the existing ones: events may have been lost."""
        self._resync_wanted += 1
        self._tasks.start("", self._resync(self._resync_wanted), "resync")

    async def _resync(self, generation: int) -> None:
        known = self._sandboxes.ids | self._containers.ids  # the answer may lack what starts later
        with self._failed.contain("look at all containers") as attempt:
            listed = await self._tasks.call(self._engine.containers, {LAB_LABEL: self._lab})
            paused = [container.id for container in listed if _is_paused(container)]
            await self._tasks.call(self._engine.resume, paused)
        if attempt.error is not None:
            asyncio.get_running_loop().call_later(self._retry, self.look_again)
            return
        present = {container.id: container for container in listed}
        for uid in self._sandboxes.compare(present, known):
            self._lose(uid)
        self._containers.compare(present, known)
        self._resync_done = max(self._resync_done, generation)
        self._notify(Changed())


def _is_on_node(run: Run, node: str) -> bool:
    """Return whether a run is in the network namespace of a node's container."""
    return run.pod.spec.host_network and run.pod.spec.node_name == node


def _is_paused(container: protocol.Container) -> bool:
    """Return whether a container of a pod is paused."""
    return container.state == PAUSED and container.labels.get(ROLE_LABEL) in OF_PODS
