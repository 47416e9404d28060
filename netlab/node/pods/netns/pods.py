"""Pods of runtime `netns`: namespaces by the kernel, commands by the spawner, built-in workloads by their node's process.

A command is a process of the machine that has entered the pod. A built-in workload has no process: its node's
workloads process holds its sockets and receives the whole set of what shall run (`workloads_link`). What it reports is the
news: a server that it names has begun, one with a code has ended. One that is to end reports its code when every client that came
before has been served.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from netlab.api.pods import Container, Pod
from netlab.containment import Contained, describe
from netlab.errors import NetlabError
from netlab.hosts.claims import foreign, pod_refusal, record
from netlab.kernel.door import Kernel, Occupant
from netlab.node.pods.builtin import builtin_of, run_key, server_spec
from netlab.node.pods.capabilities import granted
from netlab.node.pods.link import WorkloadsLink
from netlab.node.pods.netns.probes import CommandRunner
from netlab.node.pods.readiness import Result
from netlab.node.pods.runtime import (
    KILLED,
    SANDBOX_REFUSED,
    Began,
    Changed,
    Ended,
    Place,
    PodEvent,
    Refused,
    Run,
    RunKey,
    Stop,
    stopped_early,
)
from netlab.process import records
from netlab.process.marks import restore_records
from netlab.process.podfiles import PATH, command_line
from netlab.process.records import CONTAINER_PREFIX
from netlab.process.spawner import ContainerSpec, Exit, ProcessSpawner
from netlab.state import StateDirectory
from netlab.workloads.program import socket_name
from netlab.workloads.protocol import Report, ServerSpec, ServerStatus

SIGNALS = {Stop.END: signal.SIGTERM, Stop.KILL: signal.SIGKILL}
LOST = "The container's process ended while the lab's daemon was not running."


@dataclass
class Served:
    """A built-in workload: what its node's process receives, and what that has reported."""

    run: Run
    spec: ServerSpec
    begun: bool = False


class NetnsPods:
    """The `PodRuntime` of network namespaces and processes."""

    def __init__(self, kernel: Kernel, spawner: ProcessSpawner, state: StateDirectory) -> None:
        self.environment: Mapping[str, str] = {"PATH": PATH, "HOME": "/root"}  # there is no image to specify it
        self._kernel = kernel
        self._spawner = spawner
        self._state = state
        self._commands = CommandRunner(spawner, state)
        self._tell: Callable[[PodEvent], None] = lambda _news: None
        self._asked: list[Run] = []  # commands that begin at the end of this round
        self._running: dict[Place, RunKey] = {}  # commands whose end will be reported
        self._served: dict[Place, Served] = {}
        self._links: dict[str, tuple[WorkloadsLink, asyncio.Task[None]]] = {}
        spawner.subscribe(self._exited)

    def subscribe(self, listener: Callable[[PodEvent], None]) -> None:
        """Send all events to `listener`."""
        self._tell = listener

    async def run(self) -> None:
        """Keep the connections to the nodes' workloads processes until cancelled."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            tasks = [task for _, task in self._links.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def recall(self, known: Collection[tuple[str, str]]) -> None:
        """End commands whose pods are gone."""
        names = {container_process(uid, container) for uid, container in known}
        ours = records.COMMAND_PREFIXES
        strays = [r for r in records.read_records(self._state) if r.name.startswith(ours) and r.name not in names]
        await asyncio.to_thread(records.stop, strays, 0.0)
        for stray in strays:
            records.strike_off(self._state, stray.name)

    # ---- namespaces
    def make_namespaces(self, pods: Mapping[str, Pod]) -> Mapping[str, str]:
        """Make those that are missing, except where something is that the lab did not make; returns why some have none.

        All are made in one batch; when that is refused, one by one.
        """
        occupants = {path: self._kernel.occupant(path) for path in pods}
        taken = foreign(self._state, occupants)
        missing = [path for path, found in occupants.items() if found is not Occupant.NAMESPACE and path not in taken]
        refused = {pods[path].metadata.uid: f"{SANDBOX_REFUSED}: {pod_refusal(self._state, path)}" for path in taken}
        with Contained() as attempt:
            self._make(missing)
        for path in missing if attempt.error else ():
            with Contained() as alone:
                self._make([path])
            if alone.error is not None:
                refused[pods[path].metadata.uid] = describe(alone.error)
        return refused

    def _make(self, paths: Sequence[str]) -> None:
        record(self._state, paths)
        self._kernel.create_namespaces(paths)

    # ---- what is asked for
    def serves_on(self, _uid: str, container: Container) -> bool:
        """A built-in workload does."""
        return bool(builtin_of(container))

    def start(self, run: Run) -> None:
        """Have a run begin at the end of this round."""
        if builtin_of(run.container):
            served, refusal = _servable(run)
            if served is None:
                self._tell(Refused(run.key, "CreateContainerError", refusal))
            else:
                self._served[run.key.place] = served
        elif not run.container.command:
            image = run.container.image
            words = f'image "{image}" is not one of netlab\'s built-in workloads, and the container has no command'
            self._tell(Refused(run.key, "ErrImageNeverPull", words))
        else:
            self._asked.append(run)

    def take_over(self, run: Run) -> Ended | None:
        """Continue a run that an earlier daemon started."""
        if builtin_of(run.container):
            served, refusal = _servable(run)
            if served is None:
                return Ended(run.key, None, refusal)
            served.begun = True
            self._served[run.key.place] = served
            return None
        if self._spawner.adopt(container_process(*run.key.place), run.namespace) is None:
            return Ended(run.key, None, LOST)
        self._running[run.key.place] = run.key
        return None

    def stop(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end."""
        served, running = self._served.get(key.place), self._running.get(key.place)
        if any(run.key == key for run in self._asked):
            self._asked = [run for run in self._asked if run.key != key]
            self._tell(stopped_early(key))
        elif served and served.run.key == key:
            self._stop_serving(key, served, step)
        else:
            if step in SIGNALS and running in {None, key}:  # None: an earlier daemon's
                self._signal(key.place, SIGNALS[step])
            if step is Stop.KILL and running != key:  # no event of its end would come
                self._tell(Ended(key, None))

    def _stop_serving(self, key: RunKey, served: Served, step: Stop) -> None:
        if not served.begun:
            del self._served[key.place]
            self._tell(stopped_early(key))
            return
        served.spec = msgspec.structs.replace(served.spec, draining=True, ending=step >= Stop.END)
        if step is Stop.KILL:
            self._end_serving(key, KILLED)

    def _end_serving(self, key: RunKey, code: int, message: str = "") -> None:
        del self._served[key.place]
        self._tell(Ended(key, code, message))

    def release(self, uid: str) -> None:
        """End whatever runs for a pod, at once, and forget it."""
        self._asked = [run for run in self._asked if run.key.uid != uid]
        for place in [place for place in self._served if place[0] == uid]:
            del self._served[place]
        for place in [place for place in self._running if place[0] == uid]:
            self._signal(place, signal.SIGKILL)

    def holds(self, _uid: str) -> bool:
        """What is left when its processes have been killed goes with the namespace."""
        return False

    def _signal(self, place: Place, number: signal.Signals) -> None:
        name = container_process(*place)
        record = records.read_record(self._state, name)
        if record is None and place in self._running and name in restore_records(self._state):
            record = records.read_record(self._state, name)
        if record:
            records.send(record, number)

    # ---- what is carried out
    async def carry_out(self, nodes: Collection[str]) -> None:
        """Start commands, and send every node's workloads process what shall run."""
        asked, self._asked = self._asked, []
        for run in asked:
            await self._begin(run)
        wanted: dict[str, list[ServerSpec]] = {name: [] for name in (*nodes, *self._links)}
        for served in self._served.values():
            wanted.setdefault(served.spec.node, []).append(served.spec)
        for node, servers in wanted.items():
            self._link(node).want(sorted(servers, key=lambda spec: spec.key))
        for node in set(self._links) - set(nodes):
            if not wanted[node]:
                self._links.pop(node)[1].cancel()

    async def _begin(self, run: Run) -> None:
        """Start a command, or take over the one that an earlier daemon started and did not write down."""
        name = container_process(*run.key.place)
        spec = ContainerSpec(
            name=name,
            namespace=run.namespace,
            argv=command_line(run.container, run.environment.declared),
            log=str(run.files.log(run.container.name)),
            environment=run.environment.whole,
            files=str(run.files.folder),
            working_directory=run.container.working_dir,
            capabilities=granted(run.container),
        )
        self._running[run.key.place] = run.key
        with Contained() as attempt:
            if self._spawner.adopt(name, run.namespace) is None:
                await self._spawner.spawn_container(spec)
        if attempt.error is not None:
            del self._running[run.key.place]
            words = str(attempt.error) if isinstance(attempt.error, OSError | NetlabError) else describe(attempt.error)
            self._tell(Refused(run.key, "RunContainerError", words))
            return
        self._tell(Began(run.key))

    def _link(self, node: str) -> WorkloadsLink:
        if node not in self._links:
            link = WorkloadsLink(self._state.socket(socket_name(node)), self._reported)
            self._links[node] = link, asyncio.get_running_loop().create_task(link.run(), name=f"workloads {node}")
        return self._links[node][0]

    # ---- what happens
    def _reported(self, report: Report) -> None:
        for status in report.servers:
            served = self._served.get(run_key(status).place)
            if served and served.run.key == run_key(status):  # another run's is out of date
                self._heard(served, status)
        self._tell(Changed())

    def _heard(self, served: Served, status: ServerStatus) -> None:
        key = served.run.key
        if not served.begun:
            served.begun = True
            self._tell(Began(key))
        if status.code is not None:
            self._end_serving(key, status.code, status.message)

    def _exited(self, news: Exit) -> None:
        if not news.name.startswith(CONTAINER_PREFIX):
            return
        place = next((place for place in self._running if container_process(*place) == news.name), None)
        if place is not None:
            self._tell(Ended(self._running.pop(place), news.code))

    async def probe(self, run: Run, argv: tuple[str, ...], limit: float) -> Result:
        """Run a command as a process in the pod."""
        return await self._commands.probe(run, argv, limit)

    def look_again(self) -> None:
        """The spawner's events are never late: it is the parent of the processes."""

    def settled(self) -> list[str]:
        """Name the nodes whose workloads process has not answered for all that shall run."""
        return [f"Node {node}: its workloads are being started." for node, (link, _) in self._links.items() if not link.settled]


def container_process(uid: str, container: str) -> str:
    """Return the name of a command's process record."""
    return f"{CONTAINER_PREFIX}{uid}-{container}"


def _servable(run: Run) -> tuple[Served | None, str]:
    """Return a built-in workload as the message for its node's process; None, and why, when no message can hold it."""
    with Contained() as attempt:
        spec = server_spec(run)
        msgspec.json.encode(spec)
        return Served(run, spec), ""
    return None, describe(attempt.error) if attempt.error else ""
