"""Pods of runtime `docker`: a container that holds the pod's network namespace, and its containers in that namespace.

    asked for     one task each                                                        what the engine says        news
    namespace     holder started, its namespace bound         (`docker_sandboxes`)     holder died, was removed    SandboxLost
    run           image chosen, container started             (`docker_runs`)          see there
    release       all containers of the pod removed           (here)                                               Changed

The engine takes a quarter of a second for a container and does many at once, so every one has a task of its own, and the
event loop waits for none. All state is the event loop's; threads only carry calls to the engine (`docker_work`).

Labels are the memory: a new daemon finds holders and containers by them (`recall`), goes on with what runs in the right
namespace, and removes what nobody knows. When a holder is lost its containers are killed: they are in a namespace that
no cable leads to any more; the kubelet starts them again in the next one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping

from netlab.containment import Containment
from netlab.errors import NetlabError
from netlab.kernel.door import Kernel
from netlab.node.docker_containers import CONTAINER, NODE, SANDBOX, key_of
from netlab.node.docker_found import Found
from netlab.node.docker_ready import READY, ReadySocket
from netlab.node.docker_runs import Runs
from netlab.node.docker_sandboxes import Holders
from netlab.node.docker_start import Limit, Starter
from netlab.node.docker_work import Work
from netlab.node.pod_runtime import (
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
from netlab.node.readiness import Result
from netlab.runtime import docker
from netlab.runtime.docker import LAB_LABEL, OWNER_LABEL, PAUSED, ROLE_LABEL, Engine, Event
from netlab.runtime.statedir import StateDirectory

OF_PODS = (SANDBOX, CONTAINER)  # roles
RETRY = 1.0
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
        retry: float = RETRY,
    ) -> None:
        self.environment: Mapping[str, str] = {}  # the image says the rest
        self._engine = engine
        self._lab = state.lab
        self._retry = retry
        self._work = Work()
        self._holders = Holders(
            engine=engine,
            kernel=kernel,
            state=state,
            work=self._work,
            domain=domain,
            image=workloads,
            stands=lambda uid: self._tell(Changed(uid)),
        )
        self.make_namespaces = self._holders.make
        starter = Starter(
            engine=engine,
            work=self._work,
            holders=self._holders,
            lab=state.lab,
            workloads=workloads,
            ready=str(state.socket(READY)),
            limit=limit,
        )
        self._found = Found()
        self._runs = Runs(engine=engine, work=self._work, starter=starter, found=self._found, tell=self._tell)
        self.serves_on = self._runs.serves_on
        self.take_over = self._runs.take_over
        self._ready = ReadySocket(state, self._runs.listens)
        self._listener: Callable[[PodEvent], None] = lambda _news: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: list[Run] = []
        self._failed = Containment(log, "engine", time.monotonic)
        self._leaving: set[str] = set()  # uids being released
        self._doubts = self._cleared = 0  # how often all containers were to be looked at, and how often of that they were
        self._early: list[Event] | None = []  # what happened before we knew what there is
        self._unlisten: Callable[[], None] | None = None

    def subscribe(self, listener: Callable[[PodEvent], None]) -> None:
        """Have all news told to `listener`."""
        self._listener = listener

    def _tell(self, news: PodEvent) -> None:
        self._listener(news)

    async def run(self) -> None:
        """Wait until cancelled, then stop listening; containers go on."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            if self._unlisten:
                await asyncio.to_thread(self._unlisten)
            self._ready.close()
            await self._work.end()

    async def recall(self, known: Collection[Place]) -> None:
        """Find what an earlier daemon left, and hear what happens from now on."""
        self._loop = asyncio.get_running_loop()
        self._holders.open()
        await self._ready.open()
        if self._unlisten:  # an attempt before this one got so far
            await asyncio.to_thread(self._unlisten)
        self._unlisten = await self._work.call(self._engine.events, {LAB_LABEL: self._lab}, self._happens)
        uids = {uid for uid, _ in known}
        strays = []
        for container in await self._work.call(self._engine.containers, {LAB_LABEL: self._lab}):
            match container.labels.get(ROLE_LABEL):
                case "sandbox" if container.labels.get(OWNER_LABEL) in uids and container.runs:
                    self._holders.find(container.labels[OWNER_LABEL], container)
                case "container" if key_of(container.labels).place in known:
                    strays += self._found.keep(container)
                case "sandbox" | "container":
                    strays.append(container.id)
        early, self._early = self._early, None
        for event in early or ():
            self._happened(event)
        await self._work.call(self._engine.remove, strays)

    # ---- what is asked for
    def start(self, run: Run) -> None:
        """Have a run begin at the end of this round."""
        self._asked.append(run)

    async def carry_out(self, nodes: Collection[str]) -> None:
        """Have everything that was asked for done at the same time."""
        del nodes
        asked, self._asked = self._asked, []
        for run in asked:
            self._runs.begin(run)

    def stop(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end."""
        if any(run.key == key for run in self._asked):
            self._asked = [run for run in self._asked if run.key != key]
            self._tell(stopped_early(key))
        else:
            self._runs.stop(key, step)

    def release(self, uid: str) -> None:
        """Remove everything of a pod."""
        self._asked = [run for run in self._asked if run.key.uid != uid]
        self._holders.forget(uid)
        self._leaving.add(uid)
        self._begin_removing(uid)

    def _begin_removing(self, uid: str) -> None:
        others = self._work.tasks(uid)
        self._work.begin(uid, self._remove(uid, others), "remove")

    async def _remove(self, uid: str, others: tuple[asyncio.Task[None], ...]) -> None:
        """Remove a pod's containers once nothing is being started any more; tried again while the engine refuses."""
        await asyncio.gather(*others, return_exceptions=True)
        with self._failed.contain(f"removal of {uid}") as attempt:
            listed = await self._work.call(self._engine.containers, {LAB_LABEL: self._lab, OWNER_LABEL: uid})
            await self._work.call(self._engine.remove, [container.id for container in listed])
        if attempt.error is not None:
            asyncio.get_running_loop().call_later(self._retry, self._begin_removing, uid)
            return
        self._runs.forget(uid)
        self._leaving.discard(uid)
        self._tell(Changed(uid))

    def holds(self, uid: str) -> bool:
        """Tell whether a released pod's containers are still being removed."""
        return uid in self._leaving

    async def probe(self, run: Run, argv: tuple[str, ...], limit: float) -> Result:
        """Run a command in the container."""
        tracked = self._runs.get(run.key.place)
        if tracked is None or tracked.container is None:
            return Result(success=False, message="the container does not run")
        try:
            code, said = await self._work.call(self._engine.run, tracked.container.id, argv, limit)
        except TimeoutError:
            return command_timed_out(argv, limit)
        except NetlabError as error:  # also an engine that is away: the probe is made again
            return Result(success=False, message=error.message)
        return command_result(code, said)

    def settled(self) -> list[str]:
        """Pods say it all, unless something may have happened to them that nobody has told yet."""
        return ["the engine to be asked for the pods' containers"] if self._doubts != self._cleared else []

    # ---- what happens
    def _happens(self, event: Event) -> None:
        """Take in an event of the engine. Called in its thread."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._happened, event)

    def _happened(self, event: Event) -> None:
        role, owner = event.labels.get(ROLE_LABEL), event.labels.get(OWNER_LABEL, "")
        if self._early is not None:
            self._early.append(event)
        elif event.action == docker.CONNECTED:
            self.look_again()
        elif role == CONTAINER:
            self._runs.happened(event, leaving=owner in self._leaving)
        elif event.action == "start":
            return
        elif role == SANDBOX:
            if self._holders.has_ended(owner, event.id):
                self._lose(owner)
        elif role == NODE:  # its namespace is gone, and whatever of the host network ran in it is in nobody's
            self._runs.kill(lambda run: run.pod.spec.host_network and run.pod.spec.node_name == owner)
            self._tell(Changed())  # the node is not ready any more

    def _lose(self, uid: str) -> None:
        """Take in that a holder has ended: whatever ran in its namespace starts again in the next one."""
        self._runs.kill(lambda run: run.key.uid == uid)
        log.warning("uid=%s sandbox=lost", uid)
        self._tell(SandboxLost(uid))

    def look_again(self) -> None:
        """Compare what is known with what there is: while the engine was away nobody told what happened."""
        self._doubts += 1
        self._work.begin("", self._look(self._doubts), "look again")

    async def _look(self, doubts: int) -> None:
        known = self._holders.ids | self._runs.ids  # what starts while we ask may not be in the answer
        with self._failed.contain("look at all containers") as attempt:
            listed = await self._work.call(self._engine.containers, {LAB_LABEL: self._lab})
            paused = [container for container in listed if container.state == PAUSED]
            await self._work.call(self._engine.resume, [c.id for c in paused if c.labels.get(ROLE_LABEL) in OF_PODS])
        if attempt.error is not None:
            asyncio.get_running_loop().call_later(self._retry, self.look_again)
            return
        present = {container.id: container for container in listed}
        for uid in self._holders.compare(present, known):
            self._lose(uid)
        self._runs.compare(present, known)
        self._cleared = max(self._cleared, doubts)
        self._tell(Changed())
