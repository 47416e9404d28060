"""Starting the container of a run: its image chosen, its network found, the engine asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import netlab
from netlab.errors import EngineError
from netlab.node.docker_containers import NODE, container_spec
from netlab.node.docker_sandboxes import Holders
from netlab.node.docker_work import Work
from netlab.node.pod_images import choose
from netlab.node.pod_runtime import Run
from netlab.runtime.docker import LAB_LABEL, OWNER_LABEL, ROLE_LABEL, Container, Engine

Limit = Callable[[Path], None]


class Starter:
    """Starts containers of one lab.

    `workloads` is the image of netlab's own workloads, `ready` the socket they report to; `limit` gives a folder a size.
    """

    def __init__(
        self, *, engine: Engine, work: Work, holders: Holders, lab: str, workloads: str, ready: str, limit: Limit
    ) -> None:
        self._engine = engine
        self._work = work
        self._holders = holders
        self._lab = lab
        self._workloads = workloads
        self._ready = ready
        self._limit = limit

    async def start(self, run: Run) -> Container:
        """Start a run's container. Raises ImageUnavailableError, ConfigError, or what the engine said."""
        chosen = await self._work.call(choose, self._engine, run.container, self._workloads)
        network = f"container:{await self._network_of(run)}"
        spec = container_spec(self._lab, run, chosen, network=network, ready=self._ready, version=netlab.__version__)
        await self._work.call(self._limit, run.files.etc)
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
