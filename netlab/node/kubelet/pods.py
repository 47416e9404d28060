"""One pod on its node: has its containers started in order, receives their ends, probes them, has them stopped.

`PodWorker.advance()` is level-triggered: it looks at the pod as it should be and at the records of its containers as
they are, and asks the runtime for the next thing. Every event (of the runtime, a probe's verdict, a timer) only
changes a record and asks for another look.

Stopping (semantics 1.9): a command gets SIGTERM at once, as on a cluster. A built-in workload continues to serve until no rule
leads to the pod any more (`kubelet_drain`) and it serves no client. Both have the grace period, then they are killed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from netlab.api.pods import Container, Pod, PodStatus
from netlab.containment import Contained, describe
from netlab.errors import NetlabError
from netlab.files import write_in_place, write_whole
from netlab.kernel.door import Kernel
from netlab.node.kubelet.drain import Withdrawal
from netlab.node.kubelet.probing import Probing
from netlab.node.kubelet.restore import restored
from netlab.node.kubelet.status import NEW, PodView, all_initialized, completed
from netlab.node.pods import containers, readiness
from netlab.node.pods.containers import ContainerRecord, Phase
from netlab.node.pods.runtime import SANDBOX_REFUSED, Began, Ended, PodRuntime, Refused, Run, RunKey, Stop
from netlab.process import podfiles
from netlab.process.enter import stored_environment
from netlab.process.podfiles import ConfigError, Environment, PodFiles, Sources, UnusableValueError
from netlab.state import StateDirectory

LOST = 137  # the exit code Kubernetes shows for a container that vanished
FINAL_WAITING = frozenset(
    {"CrashLoopBackOff", "ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"}
    | {"CreateContainerConfigError", "CreateContainerError"}
)
REFUSED = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
OF_CONFIGURATION = frozenset({ConfigError.reason, UnusableValueError.reason})
log = logging.getLogger("netlab.node")


def refusal(error: Exception) -> tuple[str, str]:
    """Return reason and message of a container that could not be started, in kubelet's words.

    An unexpected exception means a manifest that this code cannot handle: it concerns this container alone.
    """
    if isinstance(error, ConfigError):
        return error.reason, error.message
    if isinstance(error, OSError | NetlabError):
        return "RunContainerError", str(error)
    log.error("container=refused", exc_info=error)
    return ConfigError.reason, describe(error)


class Surroundings(Protocol):
    """What a pod needs of the rest of the cluster."""

    def sources(self, pod: Pod, address: str) -> Sources:
        """Return what the pod's environment may refer to."""

    def files(self, pod: Pod, address: str) -> dict[str, str]:
        """Return the text of the pod's resolv.conf, hosts and hostname."""

    def host_ip(self, pod: Pod) -> str:
        """Return the address of the pod's node."""

    def is_node_lost(self, pod: Pod) -> bool:
        """Return whether the pod's node was up and is not any more."""

    def is_withdrawn(self, pod: Pod, withdrawal: Withdrawal) -> bool:
        """Return whether no rule anywhere sends new connections to the pod, which is terminating."""


@dataclass(frozen=True)
class Tools:
    """The effects a pod worker may use."""

    kernel: Kernel
    runtime: PodRuntime
    state: StateDirectory
    surroundings: Surroundings
    retry_seconds: float = containers.RETRY_SECONDS  # after a start that was refused


@dataclass(eq=False)
class PodWorker:
    """The life of one pod (one uid). `wake` asks the kubelet for another look at it."""

    pod: Pod
    tools: Tools
    namespace_path: str
    node_path: str
    wake: Callable[[str], None]
    address: str = ""
    stands: bool = False  # its sandbox is there; a status with an address may be older than the namespaces
    problem: str = ""
    broken: str = ""  # what broke since its status was shown last
    home: int | None = None  # of a pod of the host network: the inode of its namespace
    released: bool = False  # the runtime was asked to end and forget everything
    records: dict[str, ContainerRecord] = field(default_factory=dict)
    asked: dict[str, Run] = field(default_factory=dict)  # runs that have not begun yet
    steps: dict[str, Stop] = field(default_factory=dict)  # how firmly each container has been asked to end
    seen_at: float = field(default_factory=time.time)
    deadline: float | None = None
    withdrawal: Withdrawal = field(default_factory=Withdrawal)
    status: PodStatus | None = None  # as it should be, at the last look
    dirty: bool = True  # something has happened since
    written: PodStatus | None = None  # what was last sent to the API
    written_version: int = 0

    def __post_init__(self) -> None:
        self.files = PodFiles(self.tools.state.pod(self.uid))
        self.probing = Probing(self.tools.kernel, self.tools.runtime, self.node_path, self._observed)
        remembered = {container.name: restored(self.pod, container) for container in self.containers}
        self.records = {name: record for name, record in remembered.items() if record is not None}

    @property
    def uid(self) -> str:
        return self.pod.metadata.uid

    @property
    def node(self) -> str:
        return self.pod.spec.node_name

    @property
    def containers(self) -> tuple[Container, ...]:
        return (*self.pod.spec.init_containers, *self.pod.spec.containers)

    @property
    def view(self) -> PodView:
        around = self.tools.surroundings
        return PodView(
            self.address,
            around.host_ip(self.pod),
            self.stands,
            around.is_node_lost(self.pod),
            self.seen_at,
            self.records,
        )

    @property
    def status_pending(self) -> bool:
        """Return whether the API does not show yet what the kubelet has observed."""
        return self.dirty or self.pod.status != self.status

    @property
    def is_refused(self) -> bool:
        """Return whether the sandbox cannot be made until a user removes what is in its place."""
        return self.problem.startswith(SANDBOX_REFUSED)

    @property
    def serves_on(self) -> bool:
        """Return whether all its containers end by themselves once no rule leads to the pod any more."""
        return all(self.tools.runtime.serves_on(self.uid, container) for container in self.pod.spec.containers)

    @property
    def refusals(self) -> list[str]:
        """Why containers cannot be made, in the words of kubelet's Event."""
        return [record.message for record in self.records.values() if record.reason in REFUSED]

    # ---- the sandbox
    def stand(self, address: str, *, fresh: bool = False) -> None:
        """Take in that the sandbox is running, and take over what an earlier daemon started in it.

        In a `fresh` one nothing can run: whatever runs for the pod is in an unreachable namespace, and is ended.
        """
        self.address, self.problem = address, ""
        if self.stands and not fresh:
            return
        self.stands = True
        self.records = {name: containers.afresh(record) for name, record in self.records.items()}
        if fresh:
            for key in self._alive():
                self.tools.runtime.stop(key, Stop.KILL)
        else:
            self._take_over()

    def _take_over(self) -> None:
        for container in self.containers:
            record = self.records.get(container.name, NEW)
            if record.phase is Phase.RUNNING:
                run = self._run(container, record.runs - 1, self._stored_environment(container))
                self.steps.pop(container.name, None)  # it is asked again
                if end := self.tools.runtime.take_over(run):
                    self._ended(container, LOST if end.code is None else end.code, end.message)
                else:
                    self.probing.begin(run)

    def restore_files(self) -> None:
        """Write those of the pod's files that were deleted; what its containers wrote into the others stays."""
        if not self.stands or not self.records or self.pod.terminating:
            return
        missing = {name for name in podfiles.INJECTED if not (self.files.etc / name).exists()}
        texts = self.tools.surroundings.files(self.pod, self.address) if missing else {}
        for name in missing.intersection(texts):
            try:
                write_in_place(self.files.etc / name, texts[name])
            except OSError as error:
                log.warning("pod=%s file=%s state=missing error=%r", self.pod.key, name, str(error))

    # ---- the level-triggered look
    def advance(self) -> None:
        """Request the next step for this pod."""
        if self.pod.terminating:
            self._stop()
            return
        if not self.stands:
            return
        for container in self.pod.spec.init_containers:
            record = self.records.get(container.name, NEW)
            if not completed(record):
                self._start_if_due(container, record)
                return
        if all_initialized(self.pod, self.records):
            for container in self.pod.spec.containers:
                self._start_if_due(container, self.records.get(container.name, NEW))

    def _start_if_due(self, container: Container, record: ContainerRecord) -> None:
        now = time.time()
        if record.phase is not Phase.WAITING or container.name in self.asked:
            return
        if record.due > now:
            asyncio.get_running_loop().call_later(record.due - now, self.wake, self.uid)
            return
        with Contained() as attempt:
            self._start(container, record)
        if attempt.error is not None:
            self.asked.pop(container.name, None)
            self._wait(container, *refusal(attempt.error))

    def _wait(self, container: Container, reason: str, message: str) -> None:
        record, now = self.records.get(container.name, NEW), time.time()
        refused = self.records[container.name] = containers.refused(
            record, container, reason, message, now=now, retry_seconds=self.tools.retry_seconds
        )
        asyncio.get_running_loop().call_later(refused.due - now, self.wake, self.uid)

    def _start(self, container: Container, record: ContainerRecord) -> None:
        texts = self.tools.surroundings.files(self.pod, self.address)
        sources = self.tools.surroundings.sources(self.pod, self.address)
        environment = podfiles.environment(
            self.pod, container, sources, name=texts["hostname"].strip(), base=self.tools.runtime.environment
        )
        for name, text in texts.items():
            write_in_place(self.files.etc / name, text)
        write_whole(self.files.environment(container.name), msgspec.json.encode(environment).decode())
        run = self.asked[container.name] = self._run(container, record.runs, environment)
        self.tools.runtime.start(run)

    def _run(self, container: Container, number: int, environment: Environment) -> Run:
        return Run(self.pod, container, number, self.namespace_path, self.address, self.files, environment)

    def _stored_environment(self, container: Container) -> Environment:
        return stored_environment(self.files, container.name)

    # ---- what happens
    def hear(self, news: Began | Ended | Refused) -> None:
        """Process the result of a run; the result of an earlier run is ignored."""
        name, number = news.key.container, news.key.number
        container, record = self._container(name), self.records.get(name, NEW)
        run = self.asked.get(name)
        asked = run is not None and run.key.number == number
        running = record.phase is Phase.RUNNING and record.runs - 1 == number
        if container is None or not (asked or running):
            return
        if run is not None and asked:
            del self.asked[name]
            if isinstance(news, Refused):
                self._wait(container, news.reason, news.message)
            else:  # also one that has ended before its start was reported
                self._began(run, news if isinstance(news, Began) else Began(news.key))
        if isinstance(news, Ended):
            self._ended(container, LOST if news.code is None else news.code, news.message)
        self.wake(self.uid)

    def _began(self, run: Run, news: Began) -> None:
        name = run.container.name
        record, fresh = self.records.get(name, NEW), readiness.initial(run.container.readiness_probe)
        self.records[name] = containers.started(
            record, now=time.time(), readiness=fresh, identity=news.identity, image=news.image
        )
        self.probing.begin(run)

    def _ended(self, container: Container, code: int, message: str = "") -> None:
        self.probing.end(container.name)
        self.records[container.name] = containers.ended(
            self.records[container.name],
            code=code,
            now=time.time(),
            policy=self._policy(container),
            pod=f"{self.pod.metadata.name}_{self.pod.metadata.namespace}({self.uid})",
            name=container.name,
            message=message,
        )

    def _observed(self, name: str, result: readiness.Result) -> None:
        """Process the result of a probe."""
        container, record = self._container(name), self.records[name]
        if container is None or container.readiness_probe is None:
            return
        fresh = readiness.observe(record.readiness, result, container.readiness_probe)
        self.records[name] = containers.with_readiness(record, fresh)
        if (fresh.ready, fresh.settled) != (record.readiness.ready, record.readiness.settled):
            log.info("pod=%s container=%s ready=%s message=%s", self.pod.key, name, fresh.ready, fresh.message)
            self.wake(self.uid)

    def retry_configuration(self) -> bool:
        """Try containers again that wait for a ConfigMap or Secret; return whether there are any."""
        waiting = {name: r for name, r in self.records.items() if r.reason in OF_CONFIGURATION}
        self.records.update({name: containers.due_now(record) for name, record in waiting.items()})
        return bool(waiting)

    def _container(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)

    def _policy(self, container: Container) -> str:
        if self.pod.terminating:
            return "Never"
        if container in self.pod.spec.init_containers:  # one that has completed is never run again
            return "Never" if self.pod.spec.restart_policy == "Never" else "OnFailure"
        return self.pod.spec.restart_policy

    # ---- the end
    @property
    def stopped(self) -> bool:
        """Return whether nothing of the pod runs any more."""
        return not self.asked and all(record.phase is not Phase.RUNNING for record in self.records.values())

    @property
    def gone(self) -> bool:
        """Return whether the runtime has released the pod."""
        return self.released and not self.tools.runtime.holds(self.uid)

    def _stop(self) -> None:
        """Request the next step to stop a terminating pod."""
        now = time.time()
        if self.deadline is None:
            grace = self.pod.metadata.deletion_grace_period_seconds
            self.deadline = now + (self.pod.spec.termination_grace_period_seconds if grace is None else grace)
            asyncio.get_running_loop().call_later(max(0.0, self.deadline - now), self.wake, self.uid)
        overdue = now >= self.deadline
        withdrawn = overdue or self.tools.surroundings.is_withdrawn(self.pod, self.withdrawal)
        for key in self._alive():
            container = self._container(key.container)
            serving = container is not None and not withdrawn and self.tools.runtime.serves_on(self.uid, container)
            self._climb(key, Stop.KILL if overdue else Stop.DRAIN if serving else Stop.END)

    def _alive(self) -> list[RunKey]:
        """Return the runs that have been asked for or have begun."""
        running = {name: record.runs - 1 for name, record in self.records.items() if record.phase is Phase.RUNNING}
        running |= {name: run.key.number for name, run in self.asked.items()}
        return [RunKey(self.uid, name, number) for name, number in running.items()]

    def _climb(self, key: RunKey, step: Stop) -> None:
        """Ask a run to end, once for each step."""
        if self.steps.get(key.container, 0) < step:
            self.steps[key.container] = step
            self.tools.runtime.stop(key, step)

    def release(self) -> None:
        """Stop everything at once and forget it."""
        if not self.released:
            self.released = True
            self.probing.end_all()
            self.tools.runtime.release(self.uid)
