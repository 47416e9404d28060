"""Pods of runtime `docker`: a container that holds the pod's network namespace, and its containers in that namespace.

    asked for     one task each                          what the engine says        news
    namespace     holder started, its namespace bound    holder died, was removed    SandboxLost
    run           image chosen, container started        container died              Ended
                  a server has said that it listens                                  Began
    release       all containers of the pod removed                                  Changed

The engine takes a quarter of a second for a container and does many at once, so every one has a task of its own, and the
event loop waits for none. All state is the event loop's; threads only carry calls to the engine (`_call`).

`Tracked` is a run as far as it is known, and `_progress` the one place where news of it are told: so it makes no
difference in which order the engine's answer, its event and the server's own word arrive.

Labels are the memory: a new daemon finds holders and containers by them (`recall`), goes on with what runs in the right
namespace, and removes what nobody knows. When a holder is lost its containers are killed: they are in a namespace that
no cable leads to any more; the kubelet starts them again in the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import netlab
from netlab.api.pods import Container
from netlab.errors import EngineError, NetlabError
from netlab.kernel.door import Kernel
from netlab.node import processes
from netlab.node.builtin import builtin_of
from netlab.node.docker_containers import CONTAINER, NODE, SANDBOX, SERVER_LABEL, STOP_SIGNALS, container_spec, key_of
from netlab.node.docker_ready import ReadySocket
from netlab.node.docker_sandboxes import Holders
from netlab.node.docker_work import Work
from netlab.node.pod_images import Chosen, ImageUnavailableError, choose
from netlab.node.pod_runtime import Began, Changed, Ended, News, Refused, Run, RunKey, SandboxLost, Stop
from netlab.node.podfiles import ConfigError
from netlab.node.readiness import Result
from netlab.runtime import docker
from netlab.runtime.docker import LAB_LABEL, OWNER_LABEL, ROLE_LABEL, Engine, Event
from netlab.runtime.statedir import StateDirectory

Place = tuple[str, str]  # uid and container
CANNOT_RUN, CANNOT_RUN_CODE = "OCI runtime create failed", 128  # the program is not there, say; the code that Kubernetes shows
LONGEST_WORDS = 200
log = logging.getLogger("netlab.node")


@dataclass
class Tracked:
    """A run as far as it is known."""

    run: Run
    container: docker.Container | None = None  # once the engine has started it
    listens: bool = False  # a server has said so, or it is none
    began: bool = False  # has been told
    over: bool = False
    code: int | None = None
    step: Stop | None = None  # how firmly it is asked to end

    @property
    def server(self) -> str:
        return self.container.labels.get(SERVER_LABEL, "") if self.container else ""


class DockerPods:
    """The `PodRuntime` of containers. `workloads` is the image of netlab's own workloads."""

    def __init__(self, *, engine: Engine, kernel: Kernel, state: StateDirectory, domain: str, workloads: str) -> None:
        self.environment: Mapping[str, str] = {}  # the image says the rest
        self._engine = engine
        self._lab = state.lab
        self._workloads = workloads
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
        self._ready = ReadySocket(state, self._listens)
        self._tell: Callable[[News], None] = lambda _news: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: list[Run] = []
        self._runs: dict[Place, Tracked] = {}
        self._found: dict[Place, docker.Container] = {}  # of an earlier daemon, not taken over yet
        self._old: dict[Place, list[str]] = {}  # ids of ended runs, kept for their logs until the next one runs
        self._leaving: set[str] = set()  # uids being released
        self._early: list[Event] | None = []  # what happened before we knew what there is
        self._unlisten: Callable[[], None] | None = None

    def subscribe(self, listener: Callable[[News], None]) -> None:
        """Have all news told to `listener`."""
        self._tell = listener

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
        self._unlisten = await self._work.call(self._engine.events, {LAB_LABEL: self._lab}, self._happens)
        uids = {uid for uid, _ in known}
        strays = []
        for container in await self._work.call(self._engine.containers, {LAB_LABEL: self._lab}):
            match container.labels.get(ROLE_LABEL):
                case "sandbox" if container.labels[OWNER_LABEL] in uids and container.runs:
                    self._holders.find(container.labels[OWNER_LABEL], container)
                case "container" if key_of(container.labels).place in known:
                    strays += self._remember(container)
                case "sandbox" | "container":
                    strays.append(container.id)
        early, self._early = self._early, None
        for event in early or ():
            self._happened(event)
        await self._work.call(self._engine.remove, strays)

    def _remember(self, container: docker.Container) -> list[str]:
        """Keep the newest run of a container; returns the other one."""
        place, number = key_of(container.labels).place, key_of(container.labels).number
        other = self._found.get(place)
        if other and key_of(other.labels).number > number:
            return [container.id]
        self._found[place] = container
        return [other.id] if other else []

    # ---- runs
    def serves_on(self, uid: str, container: Container) -> bool:
        """A built-in workload does, where netlab's image stands in for the one that is named."""
        tracked = self._runs.get((uid, container.name))
        return bool(tracked.server if tracked and tracked.container else builtin_of(container))

    def start(self, run: Run) -> None:
        """Have a run begin at the end of this round."""
        self._asked.append(run)

    async def carry_out(self, nodes: Collection[str]) -> None:
        """Have everything that was asked for done at the same time."""
        del nodes
        asked, self._asked = self._asked, []
        for run in asked:
            tracked = self._runs[run.key.place] = Tracked(run)
            found = self._found.pop(run.key.place, None)
            if found and self._goes_on(found, run):
                self._go_on(tracked, found)
            else:
                self._work.begin(run.key.uid, self._begin(tracked, found), f"start {run.container.name}")

    async def _begin(self, tracked: Tracked, found: docker.Container | None) -> None:
        """Start a run's container, after what is left of an older one."""
        run = tracked.run
        try:
            await self._work.call(self._engine.remove, [found.id] if found else [])
            chosen = await self._work.call(choose, self._engine, run.container, self._workloads)
            tracked.listens = tracked.listens or not chosen.server
            tracked.container = await self._start(run, chosen)
        except ImageUnavailableError as error:
            self._refuse(tracked, error.reason, str(error))
        except ConfigError as error:
            self._refuse(tracked, "CreateContainerConfigError", str(error))
        except NetlabError as error:
            if CANNOT_RUN in error.message:
                self._runs.pop(run.key.place, None)
                self._tell(Ended(run.key, CANNOT_RUN_CODE, error.message))
            else:
                self._refuse(tracked, "CreateContainerError", str(error))
        else:
            old = self._old.pop(run.key.place, [])
            self._progress(tracked)
            await self._work.attempt(self._work.call(self._engine.remove, old))

    async def _start(self, run: Run, chosen: Chosen) -> docker.Container:
        network = f"container:{await self._network_of(run)}"
        spec = container_spec(self._lab, run, chosen, network=network, ready=str(self._ready.path), version=netlab.__version__)
        (started,) = await self._work.call(self._engine.start, [spec])
        return started

    async def _network_of(self, run: Run) -> str:
        """Return the id of the container whose network a run is to have."""
        if not run.pod.spec.host_network:
            if holder := self._holders.get(run.key.uid):
                return holder.id
            raise EngineError("the pod's sandbox has ended", remedy="A new one is being started.")
        node = run.pod.spec.node_name
        marks = {LAB_LABEL: self._lab, ROLE_LABEL: NODE, OWNER_LABEL: node}
        running = [container.id for container in await self._work.call(self._engine.containers, marks) if container.runs]
        if not running:
            raise EngineError(f"the container of {node} does not run", remedy="It is being started.")
        return running[0]

    def _refuse(self, tracked: Tracked, reason: str, message: str) -> None:
        self._runs.pop(tracked.run.key.place, None)
        self._tell(Refused(tracked.run.key, reason, message))

    def take_over(self, run: Run) -> Ended | None:
        """Go on with a run that an earlier daemon started, or that goes on since a moment ago."""
        place = run.key.place
        if (tracked := self._runs.get(place)) and tracked.run.key == run.key:
            return None
        found = self._found.get(place)
        if found is None:
            return Ended(run.key, None, "The container was removed while the lab's daemon was not running.")
        if not self._goes_on(found, run):
            return Ended(run.key, None, "The container ended while the lab's daemon was not running.")
        del self._found[place]
        tracked = self._runs[place] = Tracked(run, began=True)
        if found.runs:
            self._go_on(tracked, found)
            return None
        del self._runs[place]
        self._old.setdefault(place, []).append(found.id)
        return Ended(run.key, found.exit_code)

    def _goes_on(self, found: docker.Container, run: Run) -> bool:
        """Tell whether a container is a run, in the network that is the pod's now, or was one."""
        if key_of(found.labels) != run.key or found.state == "created":
            return False
        return not found.runs or processes.network_namespace(found.pid) == processes.inode(run.namespace)

    def _go_on(self, tracked: Tracked, found: docker.Container) -> None:
        tracked.container, tracked.listens = found, True
        tracked.over, tracked.code = not found.runs, found.exit_code
        self._progress(tracked)

    # ---- ends
    def stop(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end."""
        tracked = self._runs.get(key.place)
        if any(run.key == key for run in self._asked):
            self._asked = [run for run in self._asked if run.key != key]
            self._tell(Refused(key, "ContainerCreating", "the pod is being deleted"))
        elif tracked is not None and tracked.run.key == key:
            tracked.step = step
            self._signal(tracked)
        elif step is Stop.KILL:
            self._tell(Ended(key, None))

    def _signal(self, tracked: Tracked) -> None:
        """Send what a run's step means to it. One that has not begun gets it when it does."""
        container, step = tracked.container, tracked.step
        if container is None or step is None or tracked.over or not (tracked.began or step is Stop.KILL):
            return
        signal = STOP_SIGNALS[step] if tracked.server or step is not Stop.END else container.stop_signal
        if tracked.server or step is not Stop.DRAIN:
            work = self._work.call(self._engine.signal, [container.id], signal)
            self._work.begin(tracked.run.key.uid, self._work.attempt(work), f"signal {container.name}")

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
        try:
            listed = await self._work.call(self._engine.containers, {LAB_LABEL: self._lab, OWNER_LABEL: uid})
            await self._work.call(self._engine.remove, [container.id for container in listed])
        except NetlabError as error:
            log.warning("uid=%s removal=failed error=%s", uid, error)
            asyncio.get_running_loop().call_later(1.0, self._begin_removing, uid)
            return
        for place in [place for place in (*self._runs, *self._found, *self._old) if place[0] == uid]:
            for known in (self._runs, self._found, self._old):
                known.pop(place, None)
        self._leaving.discard(uid)
        self._tell(Changed(uid))

    def holds(self, uid: str) -> bool:
        """Tell whether a released pod's containers are still being removed."""
        return uid in self._leaving

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
            self._work.begin("", self._work.attempt(self._look_again()), "look again")
        elif role == CONTAINER:
            self._container_happened(event)
        elif event.action == "start":
            return
        elif role == SANDBOX:
            if self._holders.has_ended(owner, event.id):
                self._lose(owner)
        elif role == NODE:  # its namespace is gone, and whatever of the host network ran in it is in nobody's
            for tracked in tuple(self._runs.values()):
                if tracked.run.pod.spec.host_network and tracked.run.pod.spec.node_name == owner:
                    self._kill(tracked)

    def _container_happened(self, event: Event) -> None:
        key = key_of(event.labels)
        tracked, found = self._runs.get(key.place), self._found.get(key.place)
        current = tracked is not None and tracked.run.key == key
        if found and found.id == event.id:
            if event.action == "die":
                self._found[key.place] = replace(found, state="exited", exit_code=event.exit_code)
            elif event.action == "destroy":
                del self._found[key.place]
        elif event.action == "start":
            if not current and key.uid not in self._leaving:  # somebody started an ended run again
                self._work.begin(
                    key.uid, self._work.attempt(self._work.call(self._engine.remove, [event.id])), f"remove {event.name}"
                )
        elif tracked is not None and current and not tracked.over:
            self._over(tracked, event.exit_code if event.action == "die" else None, event.id)

    def _over(self, tracked: Tracked, code: int | None, container: str) -> None:
        tracked.over, tracked.code = True, code
        if code is not None:
            self._old.setdefault(tracked.run.key.place, []).append(container)
        self._progress(tracked)

    def _listens(self, key: RunKey) -> None:
        """Take in that a server listens."""
        tracked = self._runs.get(key.place)
        if tracked is not None and tracked.run.key == key:
            tracked.listens = True
            self._progress(tracked)

    def _progress(self, tracked: Tracked) -> None:
        """Tell what has become of a run, once all that belongs to it is known."""
        key, container = tracked.run.key, tracked.container
        if container is None:
            return
        if not tracked.began and (tracked.listens or tracked.over):
            tracked.began = True
            self._tell(Began(key, f"docker://{container.id}", container.image))
            self._signal(tracked)
        if tracked.over:
            self._runs.pop(key.place, None)
            self._tell(Ended(key, tracked.code))

    def _lose(self, uid: str) -> None:
        """Take in that a holder has ended: whatever ran in its namespace starts again in the next one."""
        for tracked in tuple(self._runs.values()):
            if tracked.run.key.uid == uid:
                self._kill(tracked)
        log.warning("uid=%s sandbox=lost", uid)
        self._tell(SandboxLost(uid))

    def _kill(self, tracked: Tracked) -> None:
        tracked.step = Stop.KILL
        self._signal(tracked)

    async def _look_again(self) -> None:
        """Compare with what there is: while the engine was away nobody told what happened."""
        listed = await self._work.call(self._engine.containers, {LAB_LABEL: self._lab})
        present = {container.id: container for container in listed}
        for uid in self._holders.compare(present):
            self._lose(uid)
        for tracked in tuple(self._runs.values()):
            if tracked.container is None or tracked.over:
                continue
            now = present.get(tracked.container.id)
            if now is None or not now.runs:
                self._over(tracked, now.exit_code if now else None, tracked.container.id)

    async def probe(self, run: Run, argv: tuple[str, ...], limit: float) -> Result:
        """Run a command in the container."""
        tracked = self._runs.get(run.key.place)
        if tracked is None or tracked.container is None:
            return Result(success=False, message="the container does not run")
        try:
            code, said = await self._work.call(self._engine.run, tracked.container.id, argv, limit)
        except TimeoutError:
            return Result(success=False, message=f"command {argv[0]!r} timed out after {limit:g}s")
        except EngineError as error:
            return Result(success=False, message=error.message)
        return Result(success=code == 0, message="" if code == 0 else said.strip()[-LONGEST_WORDS:] or f"exit code {code}")

    def settled(self) -> list[str]:
        """Pods say it all."""
        return []
