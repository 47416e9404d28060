"""The kubelet part: one for all nodes of a lab, inside the daemon. From bound pods to running ones.

Theory. Informers keep copies of what matters; whatever changes sets one event; a round then makes true what is not:

    1. pods that left the API are torn down, new ones get a worker (`kubelet_pods`)
    2. all missing sandboxes are made in one batch (`sandbox`), in a thread
    3. each worker that was woken takes its next step
    4. every node's workloads process is told what shall run on it (`workloads_link`)
    5. statuses that differ from those in the API are written; pods that have stopped are deleted for good
    6. nodes whose agent has answered become Ready

A worker is woken by a change of its pod, an exit, a report, a probe's verdict or a timer, so a round costs what has
changed. Every 30 s the sandboxes are looked at for damage. Nothing is kept that a new daemon could not find again: the
pod's status, `ipam/<node>`, the process records and the workloads processes themselves tell it all.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Awaitable, Iterable
from typing import Any

from netlab.api.core import Node, Pod
from netlab.api.lab import Networking
from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, LEASES, NAMESPACES, NODES, PODS, SECRETS, SERVICES, Json
from netlab.controlplane.client import Client
from netlab.controlplane.informer import Informer
from netlab.dataplane.names import host_namespace, namespace_path, pod_namespace
from netlab.errors import ApiError, KernelError, is_conflict, is_not_found
from netlab.kernel.door import Kernel
from netlab.node import processes
from netlab.node.kubelet_commands import CommandRunner, container_process
from netlab.node.kubelet_nodes import ready_condition
from netlab.node.kubelet_pods import PodWorker, Tools
from netlab.node.kubelet_settled import note, unsettled
from netlab.node.kubelet_status import pod_status, status_body
from netlab.node.kubelet_surroundings import Cluster
from netlab.node.sandbox import NodePods, Sandboxes
from netlab.node.spawn import Exit, ProcessSpawner
from netlab.node.workloads import socket_name
from netlab.node.workloads_link import WorkloadsLink
from netlab.node.workloads_protocol import Report, ServerSpec
from netlab.runtime.statedir import StateDirectory

RESYNC = 30.0  # seconds between two looks at what somebody may have broken by hand
RETRY = 1.0  # seconds until the kernel is asked again after it refused something
KINDS = (PODS, NODES, SERVICES, CONFIG_MAPS, SECRETS, NAMESPACES, LEASES, ENDPOINT_SLICES)
log = logging.getLogger("netlab.node")


class Kubelet:
    """Runs the pods of all nodes of one lab."""

    def __init__(
        self,
        *,
        client: Client,
        kernel: Kernel,
        spawner: ProcessSpawner,
        state: StateDirectory,
        networking: Networking,
        lab: str,
    ) -> None:
        self._client = client
        self._kernel = kernel
        self._spawner = spawner
        self._state = state
        self._lab = lab
        self._changed = asyncio.Event()
        self.listeners: set[asyncio.Event] = set()  # set after each round: what settles need not change any object
        self._informers: dict[str, Informer[Any]] = {r.plural: Informer(client, r, changed=self._changed) for r in KINDS}
        for plural in ("configmaps", "secrets"):
            self._informers[plural].on_change.append(self._configuration_changed)
        self._cluster = Cluster({plural: informer.cache for plural, informer in self._informers.items()}, networking)
        self._tools = Tools(kernel, spawner, CommandRunner(spawner, state), state, self._cluster)
        self._sandboxes = Sandboxes(kernel, state, networking, lab)
        self._workers: dict[str, PodWorker] = {}  # by uid
        self._woken: set[str] = set()
        self._links: dict[str, tuple[WorkloadsLink, asyncio.Task[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._resync_due = 0.0
        self._adopted = False
        self._deleted: set[str] = set()  # uids deleted for good, until the informer has seen it too
        self._bridged: set[str] = set()  # nodes whose bridge has been made
        spawner.subscribe(self._exited)

    # ---- the face
    async def run(self) -> None:
        """Work until cancelled; what runs goes on running afterwards."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(informer.run(), name=f"kubelet {plural}") for plural, informer in self._informers.items()]
        try:
            while True:
                await self._wait(loop.time())
                if all(informer.has_synced for informer in self._informers.values()):
                    await self._round(loop.time())
                    for listener in self.listeners:
                        listener.set()
        finally:
            await self._end()

    def settled(self) -> list[str]:
        """Return a sentence for each pod and node that is not yet what it will be; empty when `up` need not wait."""
        workers = self._workers
        pods = [words for pod in self._pods() if (words := unsettled(pod, workers.get(pod.metadata.uid)))]
        return [
            *pods,
            *(f"Node {node}: its workloads are being started." for node, (link, _) in self._links.items() if not link.settled),
        ]

    def notes(self) -> list[str]:
        """Return a sentence for each pod that is settled in a way the user should know: unschedulable, crashing."""
        return [words for pod in self._pods() if (words := note(pod, self._workers.get(pod.metadata.uid)))]

    # ---- the loop
    async def _wait(self, now: float) -> None:
        timeout = max(0.0, self._resync_due - now) if self._adopted else None
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _round(self, now: float) -> None:
        resync = self._adopted and now >= self._resync_due
        try:
            await self._meet_pods()
            await self._make_sandboxes(resync=resync or not self._adopted)
            if resync or not self._adopted:
                self._resync_due = now + RESYNC
            looked_at = self._to_look_at()
            for worker in looked_at:
                await worker.advance()
            self._tell_workloads()
            await self._finish(looked_at)
            await self._write_node_conditions()
        except KernelError as error:
            log.warning("round=failed error=%s", error.message)
            self._resync_due = now + RETRY

    def _to_look_at(self) -> list[PodWorker]:
        """Return the workers woken since the last round; those of terminating pods look at the rules each time."""
        woken, self._woken = self._woken, set()
        return [w for uid, w in self._workers.items() if uid in woken or w.pod.terminating]

    def _wake(self, uid: str) -> None:
        self._woken.add(uid)
        if worker := self._workers.get(uid):
            worker.dirty = True
        self._changed.set()

    def _pods(self) -> Iterable[Pod]:
        pods: dict[str, Pod] = self._informers["pods"].cache
        return pods.values()

    # ---- 1: workers
    async def _meet_pods(self) -> None:
        self._deleted &= {p.metadata.uid for p in self._pods()}
        bound = {p.metadata.uid: p for p in self._pods() if p.spec.node_name and p.metadata.uid not in self._deleted}
        gone = [worker for uid, worker in self._workers.items() if uid not in bound]
        await self._tear_down(gone)
        if not self._adopted:
            await self._clear_leftovers(bound)
        new = [pod for uid, pod in bound.items() if uid not in self._workers]
        for pod in sorted(new, key=_creation):
            self._workers[pod.metadata.uid] = self._worker(pod)
            self._woken.add(pod.metadata.uid)
        self._adopted = True
        for uid, pod in bound.items():
            if self._workers[uid].pod is not pod:
                self._workers[uid].pod = pod
                self._wake(uid)

    def _worker(self, pod: Pod) -> PodWorker:
        meta = pod.metadata
        node_path = namespace_path(host_namespace(self._lab, pod.spec.node_name))
        own = namespace_path(pod_namespace(self._lab, meta.namespace, meta.name))
        path = node_path if pod.spec.host_network else own
        worker = PodWorker(pod=pod, tools=self._tools, namespace_path=path, node_path=node_path, wake=self._wake)
        worker.address = pod.status.pod_ip
        return worker

    async def _clear_leftovers(self, bound: dict[str, Pod]) -> None:
        """Remove what a daemon that was killed had not removed yet."""
        known = {container_process(uid, c.name) for uid, pod in bound.items()
                 for c in (*pod.spec.init_containers, *pod.spec.containers)}  # fmt: skip
        ours = processes.COMMAND_PREFIXES
        strays = [r for r in processes.read_records(self._state) if r.name.startswith(ours) and r.name not in known]
        await asyncio.to_thread(processes.stop, strays, 0.0)
        for stray in strays:
            processes.strike_off(self._state, stray.name)
        for node, uids in self._sandboxes.leftovers(bound).items():
            await asyncio.to_thread(self._sandboxes.remove, node, uids)

    async def _tear_down(self, workers: list[PodWorker]) -> None:
        """Remove the sandboxes of pods that have stopped or are gone."""
        for worker in workers:
            worker.abandon()
        by_node: dict[str, list[str]] = {}
        for worker in workers:
            by_node.setdefault(worker.node, []).append(worker.uid)
        for node, uids in by_node.items():
            await asyncio.to_thread(self._sandboxes.remove, node, uids)
        for worker in workers:
            del self._workers[worker.uid]
            await asyncio.to_thread(shutil.rmtree, worker.files.folder, ignore_errors=True)

    # ---- 2: sandboxes
    async def _make_sandboxes(self, *, resync: bool) -> None:
        nodes: dict[str, Node] = self._informers["nodes"].cache
        waiting = {worker.node for worker in self._workers.values() if not worker.stands} | (set(nodes) - self._bridged)
        for worker in self._workers.values():
            on_node = worker.pod.spec.host_network and not worker.stands and self._has_namespace(worker.node)
            if on_node and (address := self._cluster.host_ip(worker.pod)):  # "" until the node is known
                worker.stand(address)
                self._wake(worker.uid)
        wanted = self._node_pods(None if resync else waiting)
        if not wanted:
            return
        outcome = await asyncio.to_thread(self._sandboxes.ensure, wanted, resync=resync)
        self._bridged = (self._bridged | {pods.node for pods in wanted}) & set(nodes)
        for uid, address in outcome.addresses.items():
            worker = self._workers[uid]
            if not worker.stands or worker.address != address or worker.problem:
                worker.stand(address)
                self._wake(uid)
        for uid, problem in outcome.problems.items():
            self._workers[uid].problem = problem
        if outcome.problems:
            self._resync_due = asyncio.get_running_loop().time() + RETRY

    def _node_pods(self, names: set[str] | None) -> list[NodePods]:
        """Return what each of these nodes (None: all) shall hold, as far as it has a subnet and a namespace."""
        nodes: dict[str, Node] = self._informers["nodes"].cache
        by_node: dict[str, list[Pod]] = {name: [] for name in nodes}
        for worker in self._workers.values():
            if not worker.pod.spec.host_network and worker.node in by_node:
                by_node[worker.node].append(worker.pod)
        return [
            NodePods(name, nodes[name].spec.pod_cidr, tuple(sorted(pods, key=_creation)))
            for name, pods in sorted(by_node.items())
            if (names is None or name in names) and nodes[name].spec.pod_cidr and self._has_namespace(name)
        ]

    def _has_namespace(self, node: str) -> bool:
        return self._kernel.namespace_exists(namespace_path(host_namespace(self._lab, node)))

    # ---- 4: built-in workloads
    def _tell_workloads(self) -> None:
        wanted: dict[str, list[ServerSpec]] = {name: [] for name in (*self._informers["nodes"].cache, *self._links)}
        for worker in self._workers.values():
            wanted.setdefault(worker.node, []).extend(worker.servers.values())
        for node, servers in wanted.items():
            self._link(node).want(sorted(servers, key=lambda spec: spec.key))
        for node in set(self._links) - set(self._informers["nodes"].cache):
            if not wanted[node]:
                self._links.pop(node)[1].cancel()

    def _link(self, node: str) -> WorkloadsLink:
        if node not in self._links:
            link = WorkloadsLink(self._state.socket(socket_name(node)), self._reported)
            self._links[node] = link, asyncio.get_running_loop().create_task(link.run(), name=f"workloads {node}")
        return self._links[node][0]

    def _reported(self, report: Report) -> None:
        for status in report.servers:
            uid, _, name = status.key.partition("/")
            if worker := self._workers.get(uid):
                worker.heard(name, status)
        self._changed.set()  # whoever waits for us to settle is told at the end of a round

    def _exited(self, news: Exit) -> None:
        if not news.name.startswith(processes.CONTAINER_PREFIX):
            return
        for uid, worker in self._workers.items():
            if news.name.startswith(f"{processes.CONTAINER_PREFIX}{uid}-"):
                worker.exited(news.name.removeprefix(f"{processes.CONTAINER_PREFIX}{uid}-"), news.code)

    def _configuration_changed(self, *_: object) -> None:
        for uid, worker in self._workers.items():
            if worker.retry_configuration():
                self._wake(uid)

    # ---- 5: statuses
    async def _finish(self, looked_at: list[PodWorker]) -> None:
        now = time.time()
        stopped = [worker for worker in looked_at if worker.pod.terminating and worker.stopped]
        for worker in looked_at:
            if worker not in stopped:
                await self._write_status(worker, now)
        await self._tear_down(stopped)
        for worker in stopped:
            meta = worker.pod.metadata
            if await self._attempt(self._client.delete(PODS, meta.name, namespace=meta.namespace, grace_period_seconds=0)):
                self._deleted.add(worker.uid)

    async def _write_status(self, worker: PodWorker, now: float) -> None:
        worker.dirty = False
        wanted, meta = pod_status(worker.pod, worker.view, now), worker.pod.metadata
        worker.status = wanted
        if wanted == worker.pod.status or (wanted == worker.written and int(meta.resource_version) < worker.written_version):
            return
        patch = {"status": status_body(wanted)}
        answer = await self._attempt(self._client.patch(PODS, meta.name, patch, namespace=meta.namespace, subresource="status"))
        if answer:
            worker.written, worker.written_version = wanted, int(answer["metadata"]["resourceVersion"])

    # ---- 6: nodes
    async def _write_node_conditions(self) -> None:
        leases = self._informers["leases"].cache
        for name, node in tuple(self._informers["nodes"].cache.items()):
            conditions = ready_condition(node, self._has_namespace(name), leases, time.time())
            if conditions is not None:
                body = NODES.encode(Node(status=type(node.status)(conditions=conditions)))["status"]
                await self._attempt(self._client.patch(NODES, name, {"status": body}, subresource="status"))

    async def _attempt(self, write: Awaitable[Json]) -> Json:
        """Write; for an object that has gone or changed meanwhile return {}: a later round sees to it."""
        try:
            return await write
        except ApiError as error:
            if not (is_not_found(error) or is_conflict(error)):
                log.warning("write=failed error=%s", error.message)
            return {}

    async def _end(self) -> None:
        tasks = [*self._tasks, *(task for _, task in self._links.values())]
        tasks += [task for worker in self._workers.values() for task in worker.probes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _creation(pod: Pod) -> tuple[str, str]:
    return pod.metadata.creation_timestamp or "", pod.key
