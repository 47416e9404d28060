"""Readiness probes of one pod's containers: a task for each, from the start of a run to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from netlab.kernel.door import Kernel
from netlab.node import readiness
from netlab.node.pod_runtime import PodRuntime, Run
from netlab.node.readiness_probes import Target, probe_once

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
            task = asyncio.get_running_loop().create_task(self._probe(run), name=f"probe {run.pod.key} {name}")
            self._tasks[name] = task

    def end(self, name: str) -> None:
        """Probe a container no more."""
        if task := self._tasks.pop(name, None):
            task.cancel()

    def end_all(self) -> tuple[asyncio.Task[None], ...]:
        """Probe nothing any more; returns the tasks that are being cancelled."""
        ending = tuple(self._tasks.values())
        for name in tuple(self._tasks):
            self.end(name)
        return ending

    async def _probe(self, run: Run) -> None:
        probe, loop = run.container.readiness_probe, asyncio.get_running_loop()
        if probe is None:
            return
        target = Target(self._node_path, run.address, run.container)
        begun, due = loop.time(), None

        async def run_command(argv: tuple[str, ...], limit: float) -> readiness.Result:
            return await self._runtime.probe(run, argv, limit)

        while True:
            due = readiness.next_time(probe, begun, due)
            await asyncio.sleep(due - loop.time())
            self._observed(run.container.name, await probe_once(self._kernel, probe, target, run_command))
