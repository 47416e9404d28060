"""The containers of pods in runtime `docker`: started, adopted, signalled, removed.

The state of each run is a value of `docker_runs`, which decides what events follow; here are
the effects. Each run's container is started by its own task. The container of an ended run
stays, for its log, until the next run has begun.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import netlab
from netlab.api.pods import Container
from netlab.containment import Contained
from netlab.engine import protocol
from netlab.engine.protocol import LAB_LABEL, OWNER_LABEL, ROLE_LABEL, Engine, Event
from netlab.errors import EngineError, NetlabError
from netlab.node.pods.builtin import builtin_of
from netlab.node.pods.docker.containers import NODE, SERVER_LABEL, container_spec, key_of
from netlab.node.pods.docker.runs import AdoptedContainers, ContainerRun, start_failure
from netlab.node.pods.docker.sandboxes import PodSandboxes
from netlab.node.pods.docker.tasks import PodTaskGroup
from netlab.node.pods.images import choose
from netlab.node.pods.link import READY
from netlab.node.pods.runtime import Began, Ended, Place, PodEvent, Run, RunKey, Stop
from netlab.process import records
from netlab.state import StateDirectory

Limit = Callable[[Path], None]
GONE = "while the lab's daemon was not running."
log = logging.getLogger("netlab.node")


class ContainerManager:
    """The runs of one lab, at most one for each place.

    `workloads` is the image of netlab's own workloads; `limit` gives a folder a size.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        tasks: PodTaskGroup,
        sandboxes: PodSandboxes,
        state: StateDirectory,
        workloads: str,
        limit: Limit,
        notify: Callable[[PodEvent], None],
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._sandboxes = sandboxes
        self._state = state
        self._workloads = workloads
        self._limit = limit
        self._notify = notify
        self._adopted = AdoptedContainers()
        self._runs: dict[Place, ContainerRun] = {}
        self._old: dict[Place, list[str]] = {}  # ids of ended runs' containers
        self.adopt = self._adopted.add

    # ---- what is known
    def _current(self, key: RunKey) -> ContainerRun | None:
        known = self._runs.get(key.place)
        return known if known is not None and known.run.key == key else None

    @property
    def ids(self) -> set[str]:
        """The containers of the runs."""
        return {known.container.id for known in self._runs.values() if known.container}

    def container_id(self, place: Place) -> str:
        """Return the id of the container that runs at a place, "" if none does."""
        known = self._runs.get(place)
        return known.container.id if known and known.container else ""

    def serves_on(self, uid: str, container: Container) -> bool:
        """A built-in workload does, where netlab's image replaces the named one."""
        known = self._runs.get((uid, container.name))
        return known.is_server if known and known.container else bool(builtin_of(container))

    # ---- start
    def start(self, run: Run) -> None:
        """Start a run, or adopt the container of it that an earlier daemon left unrecorded."""
        known = self._runs[run.key.place] = ContainerRun(run)
        left = self._adopted.take(run.key.place)
        if left and _goes_on(left, run) and not (left.runs and left.labels.get(SERVER_LABEL)):
            self._continue(known, left)
        else:
            work = self._start(known, [left.id] if left else [])
            self._tasks.start(run.key.uid, work, f"start {run.container.name}")

    async def _start(self, known: ContainerRun, left: list[str]) -> None:
        """Start a run's container, and remove those of older ones."""
        key = known.run.key
        with Contained() as attempt:
            await self._tasks.call(self._engine.remove, left)
            known.container = await self._start_container(known.run)
        if attempt.error is not None:
            if not isinstance(attempt.error, NetlabError):
                names = key.uid, key.container
                log.error("uid=%s container=%s start=broken", *names, exc_info=attempt.error)
            self._runs.pop(key.place, None)
            self._notify(start_failure(key, attempt.error))
            return
        old = tuple(self._old.get(key.place, ()))
        self._advance(known)
        await self._tasks.attempt(self._remove_old(key.place, old))

    async def _start_container(self, run: Run) -> protocol.Container:
        """Raises ImageUnavailableError, ConfigError, or the engine's error."""
        chosen = await self._tasks.call(choose, self._engine, run.container, self._workloads)
        spec = container_spec(
            self._state.lab,
            run,
            chosen,
            network=f"container:{await self._network_of(run)}",
            ready=str(self._state.socket(READY)),
            version=netlab.__version__,
        )
        await self._tasks.call(self._limit, run.files.etc)
        (started,) = await self._tasks.call(self._engine.start, [spec])
        return started

    async def _network_of(self, run: Run) -> str:
        """Return the id of the container whose network namespace a run joins."""
        if not run.pod.spec.host_network:
            if sandbox := self._sandboxes.get(run.key.uid):
                return sandbox.id
            raise EngineError("the pod's sandbox has ended", remedy="A new one is being started.")
        node = run.pod.spec.node_name
        marks = {LAB_LABEL: self._state.lab, ROLE_LABEL: NODE, OWNER_LABEL: node}
        found = await self._tasks.call(self._engine.containers, marks)
        if running := next((container for container in found if container.runs), None):
            return running.id
        raise EngineError(f"the container of {node} is not running", remedy="It is being started.")

    async def _remove_old(self, place: Place, old: Collection[str]) -> None:
        """Remove ended runs' containers; those that the engine keeps go with the next run."""
        await self._tasks.call(self._engine.remove, old)
        left = [container for container in self._old.pop(place, ()) if container not in old]
        if left:
            self._old[place] = left

    def take_over(self, run: Run) -> Ended | None:
        """Continue a run that an earlier daemon or this one started."""
        place = run.key.place
        if self._current(run.key):
            return None
        left = self._adopted.get(place)
        if left is None:
            return Ended(run.key, None, f"The container was removed {GONE}")
        if not _goes_on(left, run):
            return Ended(run.key, None, f"The container ended {GONE}")
        self._adopted.take(place)
        if not left.runs:
            self._old.setdefault(place, []).append(left.id)
            return Ended(run.key, left.exit_code)
        known = self._runs[place] = ContainerRun(run, began=True)
        self._continue(known, left)
        return None

    def _continue(self, known: ContainerRun, left: protocol.Container) -> None:
        known.container, known.listens = left, True
        if not left.runs:
            known.ends[left.id] = left.exit_code
        self._advance(known)

    # ---- stop
    def stop(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end; one that is not known is over."""
        if known := self._current(key):
            self._ask(known, step)
        elif step is Stop.KILL:
            self._notify(Ended(key, None))

    def kill(self, concerned: Callable[[Run], bool]) -> None:
        """Kill the runs for which this is true."""
        for known in tuple(self._runs.values()):
            if concerned(known.run):
                self._ask(known, Stop.KILL)

    def _ask(self, known: ContainerRun, step: Stop) -> None:
        known.step = step
        self._signal(known)

    def _signal(self, known: ContainerRun) -> None:
        """Send the signal of a run's step; a run that has not begun gets it when it begins."""
        container, signal = known.container, known.signal()
        if container and signal:
            uid, name = known.run.key.uid, f"signal {container.name}"
            self._tasks.start_call(uid, name, self._engine.signal, [container.id], signal)

    def forget(self, uid: str) -> None:
        """Forget a pod whose containers have been removed."""
        for place in [place for place in self._runs if place[0] == uid]:
            del self._runs[place]
        for place in [place for place in self._old if place[0] == uid]:
            del self._old[place]
        self._adopted.forget(uid)

    # ---- what happens
    def handle(self, event: Event, *, leaving: bool) -> None:
        """Note an event of the engine; `leaving`: all of its pod's containers are being removed."""
        key = key_of(event.labels)
        known = self._current(key)
        if self._adopted.handle(event):
            return
        if event.action == "start":
            if known is None and not leaving:  # another client started an ended run again
                name = f"remove {event.name}"
                self._tasks.start_call(key.uid, name, self._engine.remove, [event.id])
        elif known is not None:
            known.ends.setdefault(event.id, event.exit_code if event.action == "die" else None)
            self._advance(known)

    def compare(self, present: Mapping[str, protocol.Container], known: Collection[str]) -> None:
        """Compare with the present containers, by id; the absence of one that is not `known` means nothing."""
        for run in tuple(self._runs.values()):
            if run.container is None or run.is_over or run.container.id not in known:
                continue
            now = present.get(run.container.id)
            if now is None or not now.runs:
                run.ends[run.container.id] = now.exit_code if now else None
                self._advance(run)

    def server_listens(self, key: RunKey) -> None:
        """Note that a server has reported that it listens."""
        if known := self._current(key):
            known.listens = True
            self._advance(known)

    def _advance(self, known: ContainerRun) -> None:
        """Report the events that are due."""
        for event in known.due():
            if isinstance(event, Ended):
                self._runs.pop(event.key.place, None)
                if known.container and event.code is not None:
                    self._old.setdefault(event.key.place, []).append(known.container.id)
            self._notify(event)
            if isinstance(event, Began):
                self._signal(known)


def _goes_on(left: protocol.Container, run: Run) -> bool:
    """Return whether a container is a run in the network that is the pod's now, or was that run."""
    if key_of(left.labels) != run.key or left.state == "created":
        return False
    own = records.inode(run.namespace)
    return not left.runs or records.network_namespace(left.pid) == own
