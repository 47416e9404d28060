"""The contract of pod runtimes, kept by network namespaces and processes."""

from __future__ import annotations

import os
import signal

import pytest
from kubeletdriver import start_workloads
from podcontract import PodContract
from podworlds import PodWorld

from netlab.dataplane.names import namespace_path
from netlab.kernel import mounts
from netlab.kernel.linux import LinuxKernel
from netlab.node import processes, workloads
from netlab.node.netns_pods import NetnsPods, container_process
from netlab.node.pod_runtime import PodRuntime, RunKey
from netlab.node.processes import ProcessRecord
from netlab.node.spawn import Spawner
from netlab.runtime.log_files import read_log
from netlab.runtime.statedir import StateDirectory

LAB = f"ntruns{os.getpid()}"
NODE_PATH = namespace_path(f"{LAB}-node1")
KERNEL = LinuxKernel()


class NetnsWorld(PodWorld):
    """Processes of this machine."""

    deadline = 30.0

    async def make_runtime(self) -> PodRuntime:
        self.spawner = Spawner.start(self.state, {"workloads": workloads.main})
        self.spawner.attach()
        if self.spawner.adopt("workloads-node1", NODE_PATH) is None:
            await start_workloads(self.state, self.spawner, NODE_PATH)
        return NetnsPods(KERNEL, self.spawner, self.state)

    async def crash(self) -> None:
        await super().crash()
        await self.spawner.close()

    def _record(self, key: RunKey) -> ProcessRecord | None:
        return processes.read_record(self.state, container_process(*key.place))

    def process(self, key: RunKey) -> object:
        record = self._record(key)
        return record if record and processes.is_alive(record) else None

    async def finish(self, _key: RunKey) -> None:
        (self.state.root / "end").touch()

    def kill(self, key: RunKey) -> None:
        record = self._record(key)
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)

    async def log(self, key: RunKey) -> str:
        path = self.run(self.program).files.log(key.container)
        while not (text := read_log(path)):  # the log keeper writes it
            await self.pause()
        return text


@pytest.fixture
async def world(tmp_path):
    state = StateDirectory(LAB, tmp_path / LAB)
    state.create()
    KERNEL.create_namespaces([NODE_PATH])
    world = NetnsWorld(state)
    await world.start()
    yield world
    await world.crash()
    processes.stop(processes.read_records(state), 2)
    made = [namespace_path(path.name) for path in state.namespaces.iterdir()]
    KERNEL.delete_namespaces([*made, NODE_PATH])
    mounts.unmount_below(state.root)


class TestNetnsPods(PodContract):
    """Needs root."""
