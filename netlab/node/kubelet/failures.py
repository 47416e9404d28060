"""Failures in the workers of pods: kept with the pod, shown, and retried.

A pod has two kinds of work, which fail apart: the look at what it needs next (`looks`), and the writing
of its status (`statuses`). A pod whose look breaks still has its status written. Only a look that
succeeds ends the failure of looks: that an event was taken in proves nothing about it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from netlab.api.pods import Pod
from netlab.containment import Contained, Containment, Failure
from netlab.errors import NetlabError
from netlab.node.kubelet.pods import PodWorker

log = logging.getLogger("netlab.node")


class PodFailures:
    """The failures of one kubelet's pods, by the pod's key. `again` asks for another look at a pod (its uid)."""

    def __init__(self, again: Callable[[str], None]) -> None:
        self._again = again
        self._looks = Containment(log, "pod", time.monotonic)
        self._statuses = Containment(log, "status", time.monotonic)

    def __bool__(self) -> bool:
        return bool(self._looks.failures or self._statuses.failures)

    def of(self, pod: Pod) -> Failure | None:
        """Return the failure of a pod, None if there is none."""
        return self._looks.failures.get(pod.key) or self._statuses.failures.get(pod.key)

    def message(self, pod: Pod) -> str:
        """Return the failure as a sentence for the user, "" if there is none."""
        failure = self.of(pod)
        return f"Pod {pod.key}: {failure.message}" if failure else ""

    def is_final(self, pod: Pod) -> bool:
        """Return whether waiting is useless: the failure is a bug, not a refusal of the kernel, the engine or the disk."""
        failure = self.of(pod)
        return failure is not None and not isinstance(failure.error, NetlabError | OSError)

    def is_due(self, pod: Pod) -> bool:
        """Return whether to work on a pod now."""
        version = pod.metadata.resource_version
        return self._looks.is_due(pod.key, version) and self._statuses.is_due(pod.key, version)

    @contextmanager
    def meeting(self, pod: Pod) -> Iterator[None]:
        """Do the first step for a pod, which has no worker yet."""
        with Contained() as attempt:
            yield
        if attempt.error is not None:
            self._looks.failed(pod.key, attempt.error, pod.metadata.resource_version)

    @contextmanager
    def guarded(self, worker: PodWorker) -> Iterator[None]:
        """Do something for a pod beside its looks."""
        with Contained() as attempt:
            yield
        self._note(worker, self._looks, attempt.error)

    @contextmanager
    def looking(self, worker: PodWorker) -> Iterator[None]:
        """Look at a pod; a success ends the failure before."""
        with self.guarded(worker):
            yield
            self._looks.forget(worker.pod.key)

    @contextmanager
    def showing(self, worker: PodWorker) -> Iterator[None]:
        """Write a pod's status."""
        with Contained() as attempt:
            yield
            self._statuses.forget(worker.pod.key)
        self._note(worker, self._statuses, attempt.error)

    def keep(self, keys: Collection[str]) -> None:
        """Forget the pods that are gone."""
        self._looks.keep(keys)
        self._statuses.keep(keys)

    def _note(self, worker: PodWorker, where: Containment, error: Exception | None) -> None:
        if error is not None:
            worker.broken = where.failed(worker.pod.key, error, worker.pod.metadata.resource_version).message
            self._again(worker.uid)
