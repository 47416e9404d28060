"""Readiness probes of one pod's containers: a task for each, from the start of a run to its end.

A probe that raises an unexpected exception has failed: it is logged, and the next one is made when it is due. Else its container
would stay as it was, and `up` would wait for its verdict for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from netlab.kernel.door import Kernel
from netlab.node.kubelet.readiness_probes import Target, probe_once
from netlab.node.pods import readiness
from netlab.node.pods.runtime import PodRuntime, Run

log = logging.getLogger("netlab.node")
Observed = Callable[[str, readiness.Result], None]  # the container's name, what a probe has shown


class Probing:
    """Probes the containers of a pod from its node's namespace; results go to `observed`."""

    def __init__(self, kernel: Kernel, runtime: PodRuntime, node_path: str, observed: Observed) -> None:
        self._kernel = kernel
        self._runtime = runtime
        self._node_path = node_path
        self._observed = observed
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, run: Run) -> None:
        """Probe a container that runs now, if it has a probe."""
        name = run.container.name
        self.end(name)
        if run.container.readiness_probe is not None and run.container in run.pod.spec.containers:
            self._go_on(run, None)

    def _go_on(self, run: Run, due: float | None) -> None:
        """Probe from now on; `due`: when the last probe was, None before the first."""
        name = run.container.name
        task = asyncio.get_running_loop().create_task(self._probe(run, due), name=f"probe {run.pod.key} {name}")
        task.add_done_callback(partial(self._ended, run))
        self._tasks[name] = task

    def _ended(self, run: Run, task: asyncio.Task[None]) -> None:
        """Handle the end of a task; one that was not cancelled has failed."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("pod=%s container=%s probe=broken", run.pod.key, run.container.name, exc_info=error)
        self._go_on(run, asyncio.get_running_loop().time())
        self._observed(run.container.name, readiness.Result(success=False, message=f"the probe failed unexpectedly: {error!r}"))

    def end(self, name: str) -> None:
        """Stop probing a container."""
        if task := self._tasks.pop(name, None):
            task.cancel()

    def end_all(self) -> tuple[asyncio.Task[None], ...]:
        """Stop all probing; returns the tasks that are being cancelled."""
        ending = tuple(self._tasks.values())
        for name in tuple(self._tasks):
            self.end(name)
        return ending

    async def _probe(self, run: Run, due: float | None) -> None:
        probe, loop = run.container.readiness_probe, asyncio.get_running_loop()
        if probe is None:
            return
        target = Target(self._node_path, run.address, run.container)
        begun = loop.time()

        async def run_command(argv: tuple[str, ...], limit: float) -> readiness.Result:
            return await self._runtime.probe(run, argv, limit)

        while True:
            due = readiness.next_time(probe, begun, due)
            await asyncio.sleep(due - loop.time())
            self._observed(run.container.name, await probe_once(self._kernel, probe, target, run_command))
