"""Which pod of a node gets which address: a kubelet on the fake kernel and the fake runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kubeletdriver import kubelet_of, pod

from netlab.api.resources import NODES, PODS
from netlab.controlplane.api import Api
from netlab.controlplane.local import LocalClient
from netlab.controlplane.store import Store
from netlab.dataplane.names import namespace_path
from netlab.kernel.fake import FakeKernel
from netlab.node.kubelet.kubelet import Kubelet
from netlab.node.pods.fake import FakePodRuntime
from netlab.state import StateDirectory

LAB = "lab"
START = datetime(2026, 11, 20, 12, 0, 0, 900_000, tzinfo=UTC)
DEADLINE = 5


async def addresses(client: LocalClient) -> dict[str, str]:
    """Return the pods that have an address."""
    pods = {body["metadata"]["name"]: body.get("status", {}).get("podIP", "") for body in (await client.list(PODS)).items}
    return {name: address for name, address in pods.items() if address}


async def bind(client: LocalClient, kubelet: Kubelet, rounds: Sequence[str], order: str) -> dict[str, str]:
    """Bind pods in `order` while the kubelet looks now and then: after each group of `rounds`. Returns their addresses."""
    looked, task = asyncio.Event(), None
    kubelet.listeners.add(looked)
    remaining = iter(order)
    done = 0
    for group in rounds:
        for _ in group:
            await client.patch(PODS, next(remaining), {"spec": {"nodeName": "node1"}})
        done += len(group)
        task = task or asyncio.create_task(kubelet.run())
        async with asyncio.timeout(DEADLINE):
            while len(await addresses(client)) < done:
                await looked.wait()
                looked.clear()
    assert task is not None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return await addresses(client)


@pytest.mark.parametrize("rounds", ["...", ". ..", ".. .", ". . ."], ids=["at once", "one first", "two first", "one by one"])
@pytest.mark.parametrize("step", [0, 0.2, 1], ids=["in one second", "a second begins between them", "in three seconds"])
@pytest.mark.parametrize("order", ["abc", "cab"])
async def test_the_order_of_binding(tmp_path: Path, rounds: str, step: float, order: str) -> None:
    """Pods get addresses in the order in which they were bound, whenever they were made and however many a round sees."""
    kernel, state = FakeKernel(), StateDirectory(LAB, tmp_path / LAB)
    state.create()
    kernel.create_namespaces([namespace_path(f"{LAB}-node1")])
    times = iter(START + timedelta(seconds=step * number) for number in range(100))
    client = LocalClient(Api(Store.open(":memory:"), clock=lambda: next(times)))
    await client.create(NODES, {"metadata": {"name": "node1"}, "spec": {"podCIDR": "10.244.1.0/24"}})
    for name in "bca":
        await client.create(PODS, pod(name, {"image": "whoami"}, nodeName=""))
    kubelet = kubelet_of(client, kernel, FakePodRuntime(kernel), state)

    given = await bind(client, kubelet, rounds.split(), order)

    assert {name: f"10.244.1.{2 + place}" for place, name in enumerate(order)} == given
