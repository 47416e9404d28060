"""The sandboxes of pods in runtime `docker`: containers whose namespaces have the pods' paths.

A sandbox is started once, found again by its labels, and replaced when it has ended: the engine
gives its name to the next one, and the path gets that one's namespace. State belongs to the event
loop; `make` alone is called in a thread, and only reads it or schedules work.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping

import netlab
from netlab.api.pods import Pod
from netlab.containment import Containment, describe
from netlab.engine.protocol import Container, ContainerSpec, Engine
from netlab.errors import ForeignNamespaceError, NetlabError
from netlab.hosts.claims import pod_refusal, record, refuse_foreign
from netlab.kernel.door import Kernel
from netlab.node.pods.docker.containers import sandbox_spec
from netlab.node.pods.docker.tasks import PodTaskGroup
from netlab.node.pods.runtime import SANDBOX_REFUSED, STARTING, Changed
from netlab.process import podfiles
from netlab.state import StateDirectory

TASK = "sandbox"
log = logging.getLogger("netlab.node")


class PodSandboxes:
    """The sandboxes of one lab, by uid; `notify` is called when one exists."""

    def __init__(
        self,
        *,
        engine: Engine,
        kernel: Kernel,
        state: StateDirectory,
        tasks: PodTaskGroup,
        domain: str,
        image: str,
        notify: Callable[[Changed], None],
    ) -> None:
        self._engine = engine
        self._kernel = kernel
        self._state = state
        self._tasks = tasks
        self._domain = domain
        self._image = image
        self._notify = notify
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[str, Container] = {}
        self._bound: set[str] = set()  # their namespaces have the pods' paths
        self._problems: dict[str, str] = {}
        self._failed = Containment(log, "pod", time.monotonic)

    def adopt(self, uid: str, container: Container) -> None:
        """Take over a sandbox that an earlier daemon started."""
        self._running[uid] = container

    def get(self, uid: str) -> Container | None:
        """Return the running sandbox of a pod."""
        return self._running.get(uid)

    def make(self, pods: Mapping[str, Pod]) -> Mapping[str, str]:
        """Start missing sandboxes; returns why pods have none yet. Called in a thread."""
        missing: dict[str, str] = {}
        for path, pod in pods.items():
            uid = pod.metadata.uid
            if uid in self._running and uid in self._bound and self._kernel.namespace_exists(path):
                continue
            missing[uid] = self._problems.pop(uid, STARTING)
            if self._loop:
                self._loop.call_soon_threadsafe(self._begin, pod, path)
        return missing

    def open(self) -> None:
        """Bind to the running event loop."""
        self._loop = asyncio.get_running_loop()

    def _begin(self, pod: Pod, path: str) -> None:
        uid = pod.metadata.uid
        if not any(task.get_name() == TASK for task in self._tasks.tasks(uid)):
            self._tasks.start(uid, self._start(pod, path), TASK)

    async def _start(self, pod: Pod, path: str) -> None:
        """Start a pod's sandbox, or adopt it, and give its namespace the pod's path."""
        uid = pod.metadata.uid
        with self._failed.contain(pod.key, pod.metadata.resource_version) as attempt:
            if uid not in self._running:
                (sandbox,) = await self._tasks.call(self._engine.start, [self._spec(pod)])
                self._running[uid] = sandbox
            await self._tasks.call(self._bind, path, self._running[uid])
        if attempt.error is not None:  # reported when the sandbox is asked for again
            self._problems[uid] = self._problem(attempt.error, path)
        elif uid in self._running:  # it may have ended since
            self._bound.add(uid)
            self._notify(Changed(uid))

    def _spec(self, pod: Pod) -> ContainerSpec:
        return sandbox_spec(
            self._state.lab,
            pod,
            image=self._image,
            hostname=podfiles.hostname(pod, self._domain),
            version=netlab.__version__,
        )

    def _problem(self, error: Exception, path: str) -> str:
        if isinstance(error, ForeignNamespaceError):
            return f"{SANDBOX_REFUSED}: {pod_refusal(self._state, path)}"
        return str(error) if isinstance(error, NetlabError) else describe(error)

    def _bind(self, path: str, sandbox: Container) -> None:
        refuse_foreign(self._state, {path: self._kernel.occupant(path)})
        record(self._state, [path])
        self._kernel.bind_namespaces({path: sandbox.network_namespace})

    def has_ended(self, uid: str, container: str) -> bool:
        """Note the end of a container; return whether it was a pod's sandbox."""
        if uid not in self._running or self._running[uid].id != container:
            return False
        del self._running[uid]
        self._bound.discard(uid)
        return True

    @property
    def ids(self) -> set[str]:
        """The sandboxes' containers."""
        return {sandbox.id for sandbox in self._running.values()}

    def compare(self, present: Mapping[str, Container], known: Collection[str]) -> list[str]:
        """Compare with what is present, by id; returns the pods that have lost their sandbox.

        The absence of what is not `known` means nothing.
        """
        gone = [
            (uid, sandbox.id)
            for uid, sandbox in self._running.items()
            if sandbox.id in known and not _is_same(sandbox, present.get(sandbox.id))
        ]
        return [uid for uid, container in gone if self.has_ended(uid, container)]

    def forget(self, uid: str) -> None:
        """Forget a pod whose containers are being removed."""
        for known in (self._running, self._problems):
            known.pop(uid, None)
        self._bound.discard(uid)


def _is_same(sandbox: Container, now: Container | None) -> bool:
    """Return whether a sandbox is still running; one that was restarted has another start."""
    return now is not None and now.runs and now.started_at == sandbox.started_at
