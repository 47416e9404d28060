"""What the kubelet writes to the API: statuses of pods, conditions of nodes, the final deletion of pods."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from netlab.api.cluster import Node
from netlab.api.coordination import Lease
from netlab.api.numbers import whole_number
from netlab.api.pods import Pod
from netlab.api.resources import NODES, PODS, Json
from netlab.api.times import timestamp_of
from netlab.containment import Containment
from netlab.controlplane.client import Client
from netlab.controlplane.controllers.writes import event
from netlab.controlplane.performing import perform
from netlab.errors import ApiError, is_already_exists, is_conflict, is_not_found
from netlab.node.kubelet.nodes import Heartbeats, held_by_members, ready_condition
from netlab.node.kubelet.pods import PodWorker
from netlab.node.kubelet.status import pod_status, status_body

MOST_EVENTS = 50  # about one pod; an error that changes at every try is reported often enough by then
log = logging.getLogger("netlab.node")


class Writer:
    """Writes what differs from what the API shows. A conflict or a missing object is left to a later round."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._heartbeats = Heartbeats()
        self._told: dict[str, set[str]] = {}  # Events sent, by the pod's uid
        self._nodes = Containment(log, "node", time.monotonic)

    async def write_pod(self, worker: PodWorker, now: float) -> None:
        """Write a pod's status, unless it is there already or on its way back to us."""
        worker.dirty = False
        wanted, meta = pod_status(worker.pod, worker.view, now), worker.pod.metadata
        worker.status = wanted
        old = whole_number(meta.resource_version) < worker.written_version
        if wanted == worker.pod.status or (wanted == worker.written and old):
            return
        patch = {"status": status_body(wanted)}
        answer = await self._attempt(self._client.patch(PODS, meta.name, patch, namespace=meta.namespace, subresource="status"))
        if answer:
            worker.written, worker.written_version = wanted, whole_number(answer["metadata"]["resourceVersion"])

    async def delete_pod(self, pod: Pod) -> bool:
        """Delete a pod for good; return whether that was done."""
        meta = pod.metadata
        self._told.pop(meta.uid, None)
        return bool(await self._attempt(self._client.delete(PODS, meta.name, namespace=meta.namespace, grace_period_seconds=0)))

    async def tell(self, pod: Pod, reason: str, message: str) -> None:
        """Send an Event about a pod that warns; the same one once."""
        moment = timestamp_of(time.time())
        made = event(pod, moment, reason=reason, message=message, component="kubelet", warning=True)
        told = self._told.setdefault(pod.metadata.uid, set())
        if made.object.key not in told and len(told) < MOST_EVENTS:
            told.add(made.object.key)
            await self._attempt(perform(self._client, made))

    async def write_nodes(self, nodes: Mapping[str, Node], leases: Mapping[str, Lease], stands: Callable[[str], bool]) -> None:
        """Write the Ready condition of nodes; `leases` are all, by key."""
        self._heartbeats.observe(leases, time.monotonic())
        silent = self._heartbeats.silent()
        held = held_by_members(leases, nodes)
        for name, node in tuple(nodes.items()):
            with self._nodes.contain(name, node.metadata.resource_version):
                await self._write_node(node, held, silent, stands)
        self._nodes.keep(nodes)

    async def _write_node(
        self, node: Node, leases: Mapping[str, Lease], silent: Collection[str], stands: Callable[[str], bool]
    ) -> None:
        name = node.metadata.name
        conditions = ready_condition(node, stands(name), leases, silent, time.time())
        if conditions is not None:
            body = NODES.encode(Node(status=type(node.status)(conditions=conditions)))["status"]
            await self._attempt(self._client.patch(NODES, name, {"status": body}, subresource="status"))

    async def _attempt(self, write: Awaitable[Json]) -> Json:
        """Write; for an object that is gone or has changed in the meantime return {}."""
        try:
            return await write
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error) or is_already_exists(error)):
                log.warning("write=failed error=%s", error.message)
            return {}
