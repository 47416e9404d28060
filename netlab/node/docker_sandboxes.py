"""The network namespaces of pods in runtime `docker`: a container holds each, and it is bound to the pod's path.

A holder is started once, found again by its labels, and replaced when it has ended: the engine has the next one of its name take
its place, and the path is given to that one's namespace. State belongs to the event loop; `make` alone is called in a thread, and
looks or leaves word.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping

import netlab
from netlab.api.pods import Pod
from netlab.containment import Containment, describe
from netlab.errors import ForeignNamespaceError, NetlabError
from netlab.kernel.door import Kernel
from netlab.node import podfiles
from netlab.node.docker_containers import holder_spec
from netlab.node.docker_work import Work
from netlab.node.pod_runtime import SANDBOX_REFUSED, STARTING
from netlab.runtime.claims import pod_refusal, record, refuse_foreign
from netlab.runtime.docker import Container, Engine
from netlab.runtime.statedir import StateDirectory

log = logging.getLogger("netlab.node")


class Holders:
    """The holders of one lab, by uid; `stands` hears of each that has been made."""

    def __init__(
        self,
        *,
        engine: Engine,
        kernel: Kernel,
        state: StateDirectory,
        work: Work,
        domain: str,
        image: str,
        stands: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._kernel = kernel
        self._state = state
        self._work = work
        self._domain = domain
        self._image = image
        self._stands = stands
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[str, Container] = {}
        self._bound: set[str] = set()  # their namespaces have the pods' paths
        self._problems: dict[str, str] = {}
        self._failed = Containment(log, "pod", time.monotonic)

    def find(self, uid: str, container: Container) -> None:
        """Take in a holder that an earlier daemon started."""
        self._running[uid] = container

    def get(self, uid: str) -> Container | None:
        """Return the running holder of a pod."""
        return self._running.get(uid)

    def make(self, pods: Mapping[str, Pod]) -> Mapping[str, str]:
        """Have holders started that are missing; returns what is not there yet. Called in a thread."""
        words: dict[str, str] = {}
        for path, pod in pods.items():
            uid = pod.metadata.uid
            if uid in self._running and uid in self._bound and self._kernel.namespace_exists(path):
                continue
            words[uid] = self._problems.pop(uid, STARTING)
            if self._loop:
                self._loop.call_soon_threadsafe(self._begin, pod, path)
        return words

    def open(self) -> None:
        """Belong to the running event loop from now on."""
        self._loop = asyncio.get_running_loop()

    def _begin(self, pod: Pod, path: str) -> None:
        uid = pod.metadata.uid
        if not any(task.get_name() == "hold" for task in self._work.tasks(uid)):
            self._work.begin(uid, self._hold(pod, path), "hold")

    async def _hold(self, pod: Pod, path: str) -> None:
        """Start a pod's holder, or go on with it, and give its namespace the pod's path."""
        uid = pod.metadata.uid
        with self._failed.contain(pod.key, pod.metadata.resource_version) as attempt:
            if uid not in self._running:
                hostname = podfiles.hostname(pod, self._domain)
                spec = holder_spec(self._state.lab, pod, image=self._image, hostname=hostname, version=netlab.__version__)
                (self._running[uid],) = await self._work.call(self._engine.start, [spec])
            await self._work.call(self._bind, path, self._running[uid])
        if isinstance(attempt.error, ForeignNamespaceError):
            self._problems[uid] = f"{SANDBOX_REFUSED}: {pod_refusal(self._state, path)}"
            return
        if attempt.error is not None:
            known = isinstance(attempt.error, NetlabError)
            self._problems[uid] = str(attempt.error) if known else describe(attempt.error)  # told when it is asked for again
            return
        if uid in self._running:  # it may have ended meanwhile
            self._bound.add(uid)
            self._stands(uid)

    def _bind(self, path: str, holder: Container) -> None:
        refuse_foreign(self._state, {path: self._kernel.occupant(path)})
        record(self._state, [path])
        self._kernel.bind_namespaces({path: holder.network_namespace})

    def has_ended(self, uid: str, container: str) -> bool:
        """Take in the end of a container; tell whether it was a pod's holder."""
        if uid not in self._running or self._running[uid].id != container:
            return False
        del self._running[uid]
        self._bound.discard(uid)
        return True

    @property
    def ids(self) -> set[str]:
        """The holders' containers."""
        return {holder.id for holder in self._running.values()}

    def compare(self, present: Mapping[str, Container], known: Collection[str]) -> list[str]:
        """Take in which containers there are, by id; returns the pods whose holder is not the same any more.

        `known` are the containers whose absence means something.
        """
        gone = [
            (uid, holder.id)
            for uid, holder in self._running.items()
            if holder.id in known and not _is_same(holder, present.get(holder.id))
        ]
        return [uid for uid, container in gone if self.has_ended(uid, container)]

    def forget(self, uid: str) -> None:
        """Forget a pod whose containers are being removed."""
        for known in (self._running, self._problems):
            known.pop(uid, None)
        self._bound.discard(uid)


def _is_same(holder: Container, now: Container | None) -> bool:
    """Tell whether a holder has gone on: one that ended while the engine was away has the start that it had."""
    return now is not None and now.runs and now.started_at == holder.started_at
