"""Drives a kubelet under test, whatever its runtime: pods to give it, and waiting for what becomes of them.

A daemon is what a test makes: `client`, `kubelet`, the `task` it runs in, and the `deadline` in seconds for one thing to happen.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from netlab.api.lab import Networking
from netlab.api.resources import ENDPOINT_SLICES, PODS
from netlab.controlplane.local import LocalClient
from netlab.errors import ApiError
from netlab.hosts.netns import NetnsRuntime
from netlab.kernel.door import Kernel
from netlab.node.kubelet.kubelet import Kubelet
from netlab.node.pods.runtime import PodRuntime
from netlab.process.spawner import ProcessSpec, Spawner
from netlab.state import StateDirectory
from netlab.workloads.sockets import PRIVILEGES


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    listed = [{"name": f"c{i}", **container} for i, container in enumerate(containers)]
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"nodeName": "node1", "containers": listed, **spec}}


def kubelet_of(client: LocalClient, kernel: Kernel, runtime: PodRuntime, state: StateDirectory, **options: Any) -> Kubelet:
    """Make the kubelet of a lab whose nodes are bare namespaces."""
    return Kubelet(
        client=client,
        kernel=kernel,
        runtime=runtime,
        state=state,
        networking=Networking(),
        lab=state.lab,
        node_stands=NetnsRuntime(kernel, state).stands,
        slices_after=lambda _pods: client.api.store.last_change(ENDPOINT_SLICES),  # the test writes them, and at once
        **options,
    )


async def start_workloads(state: StateDirectory, spawner: Spawner, path: str) -> None:
    """Start the workloads process of node1, whose namespace is at `path`."""
    arguments = {"lab": state.lab, "node": "node1", "state": str(state.root)}
    log, may = str(state.log("workloads")), PRIVILEGES
    spec = ProcessSpec("workloads-node1", "workloads", arguments, log, path, capabilities=may)
    await spawner.spawn(spec)


async def until(daemon, condition) -> None:
    async with asyncio.timeout(daemon.deadline):
        while not await condition():
            assert not daemon.task.done(), daemon.task.exception()
            await asyncio.sleep(0.01)


async def settled(daemon, *names: str) -> list[dict[str, Any]]:
    async def done() -> bool:
        listed = {p["metadata"]["name"] for p in (await daemon.client.list(PODS)).items}
        seen = {p.metadata.name for p in daemon.kubelet._pods()}
        return listed == seen and not daemon.kubelet.settled()

    try:
        await until(daemon, done)
    except TimeoutError:
        pytest.fail(f"not settled: {daemon.kubelet.settled()}")
    return [await daemon.client.get(PODS, name) for name in names]


async def vanished(daemon, name: str) -> bool:
    try:
        await daemon.client.get(PODS, name)
    except ApiError:
        return True
    return False
