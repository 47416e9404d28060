"""One pod on its node: starts its containers in order, hears of their ends, probes them, stops them.

`PodWorker.advance()` is level-triggered: it looks at the pod as it should be and at the records of its containers as
they are, and does the next thing. Whatever happens (an exit, a report, a probe's verdict, a timer) only changes a
record and asks for another look.

Stopping (semantics 1.9): a command gets SIGTERM at once, as on a cluster. A built-in workload serves on until no rule
leads to the pod any more (`kubelet_drain`) and nobody is being served. Both have the grace period, then they are ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from netlab.api.core import Container, Pod, PodStatus
from netlab.errors import NetlabError
from netlab.files import write_in_place, write_whole
from netlab.kernel.door import Kernel
from netlab.node import containers, podfiles, processes, readiness
from netlab.node.containers import ContainerRecord, Phase
from netlab.node.kubelet_commands import CommandRunner, builtin_of, container_process, server_spec
from netlab.node.kubelet_restore import restored
from netlab.node.kubelet_status import NEW, PodView, all_initialized, completed
from netlab.node.podfiles import ConfigError, PodFiles, Sources
from netlab.node.readiness_probes import Target, probe_once
from netlab.node.spawn import ContainerSpec, ProcessSpawner
from netlab.node.workloads_protocol import ServerSpec, ServerStatus
from netlab.runtime.statedir import StateDirectory

CONFIG_RETRY = 5.0  # seconds; a ConfigMap that appears wakes the pod sooner
LOST = 137  # the exit code Kubernetes shows for a container that vanished
FINAL_WAITING = frozenset({"CrashLoopBackOff", "ErrImageNeverPull", "CreateContainerConfigError"})
log = logging.getLogger("netlab.node")


class Surroundings(Protocol):
    """What a pod needs to know of the rest of the cluster."""

    def sources(self, pod: Pod, address: str) -> Sources:
        """Return what the pod's environment may refer to."""

    def files(self, pod: Pod, address: str) -> dict[str, str]:
        """Return the text of the pod's resolv.conf, hosts and hostname."""

    def host_ip(self, pod: Pod) -> str:
        """Return the address of the pod's node."""

    def withdrawn(self, pod: Pod) -> bool:
        """Tell whether no rule anywhere sends new connections to the pod."""


@dataclass(frozen=True)
class Tools:
    """The effects a pod worker may use."""

    kernel: Kernel
    spawner: ProcessSpawner
    commands: CommandRunner
    state: StateDirectory
    surroundings: Surroundings


@dataclass(eq=False)
class PodWorker:
    """The life of one pod (one uid). `wake` asks the kubelet for another look at it."""

    pod: Pod
    tools: Tools
    namespace_path: str
    node_path: str
    wake: Callable[[str], None]
    address: str = ""
    stands: bool = False  # its sandbox is there; a status that knows an address may be older than the namespaces
    problem: str = ""
    records: dict[str, ContainerRecord] = field(default_factory=dict)
    servers: dict[str, ServerSpec] = field(default_factory=dict)
    busy: dict[str, int] = field(default_factory=dict)
    probes: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    seen_at: float = field(default_factory=time.time)
    deadline: float | None = None
    signalled: bool = False
    status: PodStatus | None = None  # as it should be, at the last look
    dirty: bool = True  # something has happened since
    written: PodStatus | None = None  # what was last sent to the API
    written_version: int = 0

    def __post_init__(self) -> None:
        self.files = PodFiles(self.tools.state.pod(self.uid))
        remembered = {container.name: restored(self.pod, container) for container in self._containers}
        self.records = {name: record for name, record in remembered.items() if record is not None}

    @property
    def uid(self) -> str:
        return self.pod.metadata.uid

    @property
    def _containers(self) -> tuple[Container, ...]:
        return (*self.pod.spec.init_containers, *self.pod.spec.containers)

    @property
    def node(self) -> str:
        return self.pod.spec.node_name

    @property
    def view(self) -> PodView:
        return PodView(self.address, self.tools.surroundings.host_ip(self.pod), self.stands, self.seen_at, self.records)

    @property
    def status_pending(self) -> bool:
        """Tell whether the API does not show yet what the kubelet knows."""
        return self.dirty or self.pod.status != self.status

    # ---- the level-triggered look
    def stand(self, address: str) -> None:
        """Take in that the sandbox stands, and take over what an earlier daemon started in it."""
        self.address, self.problem = address, ""
        if not self.stands:
            self.stands = True
            self._adopt()

    def _adopt(self) -> None:
        """Take over the containers that ran, by their processes' records."""
        for container in self._containers:
            record = self.records.get(container.name, NEW)
            if record.phase is not Phase.RUNNING:
                continue
            if builtin_of(container):
                self._serve(container, record.runs - 1, self._stored_environment(container))
                self._begin_probing(container)
            elif pid := self.tools.spawner.adopt(container_process(self.uid, container.name), self.namespace_path):
                self.records[container.name] = containers.adopted(record, pid)
                self._begin_probing(container)
            else:
                self._ended(container, LOST, "The container's process ended while the lab's daemon was not running.")

    async def advance(self) -> None:
        """Do the next thing for this pod."""
        if self.pod.terminating:
            self._stop()
            return
        if not self.stands:
            return
        for container in self.pod.spec.init_containers:
            record = self.records.get(container.name, NEW)
            if not completed(record):
                await self._start_if_due(container, record)
                return
        if all_initialized(self.pod, self.records):
            for container in self.pod.spec.containers:
                await self._start_if_due(container, self.records.get(container.name, NEW))

    async def _start_if_due(self, container: Container, record: ContainerRecord) -> None:
        now = time.time()
        if record.phase is not Phase.WAITING or container.name in self.servers:
            return
        if record.due > now:
            asyncio.get_running_loop().call_later(record.due - now, self.wake, self.uid)
            return
        try:
            await self._start(container, record)
        except ConfigError as error:
            self._wait(container, "CreateContainerConfigError", error.message)
        except (OSError, NetlabError) as error:
            self._wait(container, "RunContainerError", str(error))

    def _wait(self, container: Container, reason: str, message: str) -> None:
        record = self.records.get(container.name, NEW)
        self.records[container.name] = containers.waiting(record, reason, message, due=time.time() + CONFIG_RETRY)
        asyncio.get_running_loop().call_later(CONFIG_RETRY, self.wake, self.uid)

    async def _start(self, container: Container, record: ContainerRecord) -> None:
        texts = self.tools.surroundings.files(self.pod, self.address)
        sources = self.tools.surroundings.sources(self.pod, self.address)
        environment = podfiles.environment(self.pod, container, sources, name=texts["hostname"].strip())
        for name, text in texts.items():
            write_in_place(self.files.folder / name, text)
        write_whole(self.files.environment(container.name), json.dumps(environment))
        if builtin_of(container):
            self._serve(container, record.runs, environment)
            return
        argv = podfiles.command_line(container, environment)
        if not container.command:
            words = f'image "{container.image}" is not one of netlab\'s built-in workloads, and the container has no command'
            self._wait(container, "ErrImageNeverPull", words)
            return
        spec = ContainerSpec(
            name=container_process(self.uid, container.name),
            namespace=self.namespace_path,
            argv=argv,
            log=str(self.files.log(container.name)),
            environment=environment,
            files=str(self.files.folder),
            working_directory=container.working_dir,
        )
        pid = await self.tools.spawner.spawn_container(spec)
        self._began(container, pid)

    def _serve(self, container: Container, run: int, environment: dict[str, str]) -> None:
        log_path = str(self.files.log(container.name))
        self.servers[container.name] = server_spec(
            self.pod, container, run=run, path=self.namespace_path, environment=environment, log=log_path, address=self.address
        )

    def _stored_environment(self, container: Container) -> dict[str, str]:
        try:
            return dict(json.loads(self.files.environment(container.name).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return {}

    # ---- what happens
    def _began(self, container: Container, pid: int) -> None:
        record = self.records.get(container.name, NEW)
        fresh = readiness.initial(container.readiness_probe)
        self.records[container.name] = containers.started(record, pid=pid, now=time.time(), readiness=fresh)
        self._begin_probing(container)

    def heard(self, name: str, status: ServerStatus) -> None:
        """Take in how a built-in workload fares; what is about another run is old news."""
        spec, container = self.servers.get(name), self._container(name)
        if spec is None or container is None or spec.run != status.run:
            return
        record = self.records.get(container.name, NEW)
        changed = self.busy.get(container.name) != status.busy and self.pod.terminating
        self.busy[container.name] = status.busy
        if record.phase is Phase.WAITING:
            self._began(container, 0)
            changed = True
        if status.code is not None:
            self._ended(container, status.code, status.message)
            changed = True
        if changed:
            self.wake(self.uid)

    def exited(self, name: str, code: int | None) -> None:
        """Take in the end of a command."""
        container = self._container(name)
        if container and self.records.get(name, NEW).phase is Phase.RUNNING:
            self._ended(container, LOST if code is None else code)
            self.wake(self.uid)

    def retry_configuration(self) -> bool:
        """Try containers again that wait for a ConfigMap or Secret; tell whether there are any."""
        waiting = {name: r for name, r in self.records.items() if r.reason == "CreateContainerConfigError"}
        self.records.update({name: containers.due_now(record) for name, record in waiting.items()})
        return bool(waiting)

    def _container(self, name: str) -> Container | None:
        return next((c for c in self._containers if c.name == name), None)

    def _ended(self, container: Container, code: int, message: str = "") -> None:
        self._end_probing(container.name)
        self.servers.pop(container.name, None)
        policy = self._policy(container)
        self.records[container.name] = containers.ended(
            self.records[container.name],
            code=code,
            now=time.time(),
            policy=policy,
            pod=f"{self.pod.metadata.name}_{self.pod.metadata.namespace}({self.uid})",
            name=container.name,
            message=message,
        )

    def _policy(self, container: Container) -> str:
        if self.pod.terminating:
            return "Never"
        if container in self.pod.spec.init_containers:  # one that has completed is never run again
            return "Never" if self.pod.spec.restart_policy == "Never" else "OnFailure"
        return self.pod.spec.restart_policy

    # ---- readiness
    def _begin_probing(self, container: Container) -> None:
        if container.readiness_probe is not None and container in self.pod.spec.containers:
            self._end_probing(container.name)
            task = asyncio.get_running_loop().create_task(self._probe(container), name=f"probe {self.pod.key} {container.name}")
            self.probes[container.name] = task

    def _end_probing(self, name: str) -> None:
        if task := self.probes.pop(name, None):
            task.cancel()

    async def _probe(self, container: Container) -> None:
        probe, loop = container.readiness_probe, asyncio.get_running_loop()
        if probe is None:
            return
        target = Target(self.node_path, self.address, container)
        begun, due = loop.time(), None

        async def run_command(argv: tuple[str, ...], limit: float) -> readiness.Result:
            return await self.tools.commands.probe(
                container.name, namespace=self.namespace_path, files=self.files, argv=argv, limit=limit
            )

        while True:
            due = readiness.next_time(probe, begun, due)
            await asyncio.sleep(due - loop.time())
            result = await probe_once(self.tools.kernel, probe, target, run_command)
            record = self.records[container.name]
            fresh = readiness.observe(record.readiness, result, probe)
            self.records[container.name] = containers.with_readiness(record, fresh)
            if (fresh.ready, fresh.settled) != (record.readiness.ready, record.readiness.settled):
                log.info("pod=%s container=%s ready=%s message=%s", self.pod.key, container.name, fresh.ready, fresh.message)
                self.wake(self.uid)

    # ---- the end
    @property
    def stopped(self) -> bool:
        """Tell whether nothing of the pod runs any more."""
        return not self.servers and all(record.phase is not Phase.RUNNING for record in self.records.values())

    def _stop(self) -> None:
        """Do the next thing to stop a terminating pod."""
        now = time.time()
        if self.deadline is None:
            grace = self.pod.metadata.deletion_grace_period_seconds
            self.deadline = now + (self.pod.spec.termination_grace_period_seconds if grace is None else grace)
            asyncio.get_running_loop().call_later(max(0.0, self.deadline - now), self.wake, self.uid)
        overdue = now >= self.deadline
        self._signal_commands(kill=overdue)
        if overdue and not self.stands:  # nothing was taken over, and the namespace it ran in is gone
            for container in self._containers:
                if self.records.get(container.name, NEW).phase is Phase.RUNNING:
                    self._ended(container, LOST)
        done = overdue or self.tools.surroundings.withdrawn(self.pod)
        for name, spec in tuple(self.servers.items()):
            if self.records.get(name, NEW).phase is not Phase.RUNNING:
                del self.servers[name]
            elif overdue or (done and spec.draining and self.busy.get(name, 1) == 0):
                self._ended(next(c for c in self.pod.spec.containers if c.name == name), 0)
            elif not spec.draining:
                self.servers[name] = draining(spec)
                self.busy.pop(name, None)  # the next report counts

    def _signal_commands(self, *, kill: bool) -> None:
        if self.signalled and not kill:
            return
        self.signalled = True
        for name in self.records:
            self.send(name, signal.SIGKILL if kill else signal.SIGTERM)

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a command that runs."""
        record = processes.read_record(self.tools.state, container_process(self.uid, name))
        if record is not None:
            processes.send(record, number)

    def abandon(self) -> None:
        """Stop everything at once: the pod is gone from the API."""
        for name in tuple(self.probes):
            self._end_probing(name)
        self.servers.clear()
        for name in self.records:
            self.send(name, signal.SIGKILL)


def draining(spec: ServerSpec) -> ServerSpec:
    """Return the same run of a server, told to report when nobody is being served."""
    return msgspec.structs.replace(spec, draining=True)
