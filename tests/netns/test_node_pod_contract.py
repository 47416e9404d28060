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
from netlab.node.pods.netns.pods import NetnsPods, container_process
from netlab.node.pods.runtime import PodRuntime, RunKey
from netlab.process import records
from netlab.process.log_files import read_log
from netlab.process.records import ProcessRecord
from netlab.process.spawner import Spawner
from netlab.state import StateDirectory
from netlab.workloads import program

LAB = f"ntruns{os.getpid()}"
NODE_PATH = namespace_path(f"{LAB}-node1")
KERNEL = LinuxKernel()


class NetnsWorld(PodWorld):
    """Processes of this machine."""

    deadline = 30.0

    async def make_runtime(self) -> PodRuntime:
        self.spawner = Spawner.start(self.state, {"workloads": program.main})
        self.spawner.attach()
        if self.spawner.adopt("workloads-node1", NODE_PATH) is None:
            await start_workloads(self.state, self.spawner, NODE_PATH)
        return NetnsPods(KERNEL, self.spawner, self.state)

    async def crash(self) -> None:
        await super().crash()
        await self.spawner.close()

    def _record(self, key: RunKey) -> ProcessRecord | None:
        return records.read_record(self.state, container_process(*key.place))

    def process(self, key: RunKey) -> object:
        record = self._record(key)
        return record if record and records.is_alive(record) else None

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
    records.stop(records.read_records(state), 2)
    made = [namespace_path(path.name) for path in state.namespaces.iterdir()]
    KERNEL.delete_namespaces([*made, NODE_PATH])
    mounts.unmount_below(state.root)


class TestNetnsPods(PodContract):
    """Needs root."""
