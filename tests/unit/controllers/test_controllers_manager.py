"""The manager against the real API server in memory: whole stories, from what a user writes to what is left to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from netlab.api.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LABS,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Json,
    Resource,
)
from netlab.controlplane import manager
from netlab.controlplane.api import Api
from netlab.controlplane.controllers.table import CONTROLLERS, Controller
from netlab.controlplane.controllers.world import FIELDS, World
from netlab.controlplane.controllers.writes import Write, create
from netlab.controlplane.expiry import MOST_EVENTS
from netlab.controlplane.local import LocalClient
from netlab.controlplane.manager import REST_SECONDS, Manager
from netlab.controlplane.store import HISTORY, Store
from netlab.errors import ApiError

NODE_NAMES = ("node1", "node2", "node3")


class Cluster:
    """An API server with a manager, and what a user and a kubelet would do."""

    def __init__(
        self,
        controllers: tuple[Controller, ...] = CONTROLLERS,
        *,
        longest_rest: float = REST_SECONDS,
        history: int = HISTORY,
        most_events: int = MOST_EVENTS,
    ) -> None:
        self.store = Store.open(":memory:", history=history)
        self.client = LocalClient(Api(self.store, most_events=most_events))
        self.manager = Manager.over(self.client, self.store.last_change, controllers=controllers, longest_rest=longest_rest)

    async def idle(self) -> None:
        async with asyncio.timeout(5):
            await self.manager.wait_idle(self.store.version)

    async def items(self, resource: Resource[Any]) -> tuple[Json, ...]:
        return (await self.client.list(resource)).items

    async def boot(self) -> None:
        spec = {"nodes": [{"name": name} for name in NODE_NAMES], "loadBalancer": {"pool": "198.51.100.0/24"}}
        await self.client.create(LABS, {"metadata": {"name": "lab"}, "spec": spec})
        for index, name in enumerate(NODE_NAMES, start=1):
            status = {"addresses": [{"type": "InternalIP", "address": f"172.30.1.{index}"}]}
            await self.client.create(NODES, {"metadata": {"name": name}, "status": status})

    async def deploy(self, replicas: int, **spec: Any) -> None:
        container = {"name": "c", "image": "jpetazzo/color", "ports": [{"containerPort": 80}]}
        template = {"metadata": {"labels": {"app": "blue"}}, "spec": {"containers": [container]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "blue"}}, "template": template, **spec}
        await self.client.create(DEPLOYMENTS, {"metadata": {"name": "blue", "namespace": "default"}, "spec": spec})
        ports = [{"port": 80}]
        service = {"type": "LoadBalancer", "selector": {"app": "blue"}, "ports": ports}
        await self.client.create(SERVICES, {"metadata": {"name": "blue", "namespace": "default"}, "spec": service})

    async def run_pods(self) -> None:
        """Do as the kubelet does: give addresses, become ready, finish deletions."""
        for number, pod in enumerate(await self.items(PODS), start=2):
            name = pod["metadata"]["name"]
            if "deletionTimestamp" in pod["metadata"]:
                await self.client.delete(PODS, name, namespace="default", grace_period_seconds=0)
            elif "podIP" not in pod["status"]:
                ready = [{"type": "Ready", "status": "True"}]
                status = {"phase": "Running", "podIP": f"10.244.1.{number}", "conditions": ready}
                await self.client.patch(PODS, name, {"status": status}, namespace="default", subresource="status")
        await self.idle()

    async def scale(self, replicas: int) -> None:
        await self.client.patch(DEPLOYMENTS, "blue", {"spec": {"replicas": replicas}}, namespace="default")
        await self.idle()
        await self.run_pods()

    async def backends(self) -> int:
        slices = [s for s in await self.items(ENDPOINT_SLICES) if s["metadata"]["name"].startswith("blue-")]
        return sum(e["conditions"]["ready"] for s in slices for e in s.get("endpoints", ()))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """A cluster whose manager runs."""
    made = Cluster()
    running = asyncio.create_task(made.manager.run())
    yield made
    running.cancel()
    await asyncio.wait([running])
    made.store.close()


async def test_manager_brings_up_a_deployment(cluster: Cluster) -> None:
    """From a Deployment and a Service to pods on all nodes, an address, and slices with every pod."""
    await cluster.boot()
    await cluster.deploy(6)
    await cluster.idle()
    await cluster.run_pods()
    placed = sorted(pod["spec"]["nodeName"] for pod in await cluster.items(PODS))
    service = await cluster.client.get(SERVICES, "blue", namespace="default")
    deployment = await cluster.client.get(DEPLOYMENTS, "blue", namespace="default")

    assert sorted(NODE_NAMES * 2) == placed
    assert [{"ip": "198.51.100.1", "ipMode": "VIP"}] == service["status"]["loadBalancer"]["ingress"]
    assert deployment["status"]["availableReplicas"] == 6
    assert await cluster.backends() == 6
    assert cluster.manager.refused == ()


async def test_manager_scales_to_three_to_none_to_five(cluster: Cluster) -> None:
    """The slices follow the replicas, down to none and up again."""
    await cluster.boot()
    await cluster.deploy(6)
    await cluster.idle()
    await cluster.run_pods()
    seen = []
    for replicas in (3, 0, 5):
        await cluster.scale(replicas)
        await cluster.run_pods()
        seen.append((len(await cluster.items(PODS)), await cluster.backends()))

    assert [(3, 3), (0, 0), (5, 5)] == seen


async def test_manager_has_nothing_left_to_do(cluster: Cluster) -> None:
    """Once idle, nothing is written any more, and `processed` is the newest change."""
    await cluster.boot()
    await cluster.deploy(2)
    await cluster.idle()
    await cluster.run_pods()
    version = cluster.store.version
    cluster.manager._changed.set()
    for _ in range(20):
        await asyncio.sleep(0)

    assert version == cluster.store.version
    assert cluster.manager.processed >= max(cluster.store.last_change(resource) for resource in FIELDS.values())


async def test_manager_takes_everything_down_with_its_owner(cluster: Cluster) -> None:
    """A deleted Deployment and Service leave no ReplicaSet, pod, slice or Endpoints."""
    await cluster.boot()
    await cluster.deploy(2)
    await cluster.idle()
    await cluster.run_pods()
    await cluster.client.delete(DEPLOYMENTS, "blue", namespace="default")
    await cluster.client.delete(SERVICES, "blue", namespace="default")
    await cluster.idle()
    await cluster.run_pods()
    left = [
        obj["metadata"]["name"]
        for resource in (REPLICA_SETS, PODS, ENDPOINTS, ENDPOINT_SLICES)
        for obj in await cluster.items(resource)
        if obj["metadata"]["name"].startswith("blue")
    ]

    assert left == []


async def test_manager_mirrors_and_cleans_hand_made_endpoints(cluster: Cluster) -> None:
    """Hand-made Endpoints are mirrored, and go with their Service (semantics 5.12, 5.14)."""
    await cluster.boot()
    meta = {"name": "db", "namespace": "default"}
    await cluster.client.create(
        ENDPOINTS, {"metadata": meta, "subsets": [{"addresses": [{"ip": "172.30.1.1"}], "ports": [{"port": 80}]}]}
    )
    await cluster.client.create(SERVICES, {"metadata": meta, "spec": {"ports": [{"port": 80}]}})
    await cluster.idle()
    mirrored = [
        s["endpoints"][0]["addresses"] for s in await cluster.items(ENDPOINT_SLICES) if s["metadata"]["name"].startswith("db-")
    ]
    await cluster.client.delete(SERVICES, "db", namespace="default")
    await cluster.idle()
    left = [o["metadata"]["name"] for r in (ENDPOINTS, ENDPOINT_SLICES) for o in await cluster.items(r)]

    assert [["172.30.1.1"]] == mirrored
    assert not [name for name in left if name.startswith("db")]


async def test_manager_force_deletes_pods_of_a_removed_node(cluster: Cluster) -> None:
    """Pods of a node that left the lab are replaced on the others."""
    await cluster.boot()
    await cluster.deploy(3)
    await cluster.idle()
    await cluster.run_pods()
    await cluster.client.patch(LABS, "lab", {"spec": {"nodes": [{"name": "node1"}, {"name": "node2"}]}})
    await cluster.client.delete(NODES, "node3")
    await cluster.idle()
    placed = {pod["spec"]["nodeName"] for pod in await cluster.items(PODS)}

    assert {"node1", "node2"} == placed
    assert 3 == len(await cluster.items(PODS))


async def test_manager_tells_once(cluster: Cluster) -> None:
    """A pod that fits nowhere has one Event, however often it is looked at."""
    await cluster.boot()
    spec = {"containers": [{"name": "c", "image": "nginx"}], "nodeSelector": {"disk": "tape"}}
    await cluster.client.create(PODS, {"metadata": {"name": "lost", "namespace": "default"}, "spec": spec})
    await cluster.idle()
    await cluster.client.patch(NODES, "node1", {"metadata": {"labels": {"x": "y"}}})
    await cluster.idle()
    events = [event["message"] for event in await cluster.items(EVENTS) if event["reason"] == "FailedScheduling"]

    assert ["0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."] == events


async def test_manager_goes_on_after_a_refusal() -> None:
    """A write that the server refuses is told, does not stop the others, and does not spin: nothing is tried without a change."""
    calls = []

    def invalid(world: World, now: str) -> list[Write]:  # noqa: ARG001
        calls.append(now)
        from netlab.api.config import ConfigMap
        from netlab.api.meta import ObjectMeta

        return [create(ConfigMap(metadata=ObjectMeta(name="No_Name", namespace="default")))]

    controllers = (Controller.of("bad", "nodes", invalid), *CONTROLLERS)
    cluster = Cluster(controllers, longest_rest=0.0)  # so that turns of the loop count, and not how quick the machine is
    running = asyncio.create_task(cluster.manager.run())
    await cluster.boot()
    await cluster.idle()
    changes = cluster.store.version
    for _ in range(100 * changes):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    cluster.store.close()

    assert len(cluster.manager.refused) == 1
    assert "configmaps/default/No_Name" in cluster.manager.refused[0]
    assert 0 < len(calls) <= changes
    assert all(controller.kinds <= FIELDS.keys() for controller in CONTROLLERS)


async def test_manager_has_reconciled_only_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """S8: a controller whose write met a stale snapshot has yet to follow; one whose write was refused is not waited for."""
    answers = ["Conflict", "Invalid"]

    async def refuse(_client: Any, _write: Write) -> Json:
        raise ApiError(409, answers.pop(0) if answers else "Invalid", "no")

    monkeypatch.setattr(manager, "perform", refuse)
    pod = PODS.decode({"metadata": {"name": "p", "namespace": "default"}})
    cluster = Cluster((Controller.of("one", "pods nodes", lambda world, _now: [create(pod)] if world.nodes else []),))
    woken = asyncio.Event()
    cluster.manager.listeners.add(woken)
    task = asyncio.create_task(cluster.manager.run())
    await cluster.idle()
    assert cluster.manager.has_reconciled("one", "nodes", 1)
    woken.clear()

    first = int((await cluster.client.create(NODES, {"metadata": {"name": "node1"}}))["metadata"]["resourceVersion"])
    async with asyncio.timeout(5):
        await woken.wait()
    assert not cluster.manager.has_reconciled("one", "nodes", first)
    second = int((await cluster.client.create(NODES, {"metadata": {"name": "node2"}}))["metadata"]["resourceVersion"])
    await cluster.idle()
    task.cancel()

    assert cluster.manager.has_reconciled("one", "nodes", first)
    assert cluster.manager.has_reconciled("one", "nodes", second)
