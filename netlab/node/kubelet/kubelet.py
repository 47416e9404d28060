"""The kubelet: one for all nodes of a lab, inside the daemon. It turns bound pods into running ones.

Theory. Informers keep copies of what matters; whatever changes sets one event; a round then corrects the differences:

    1. pods that left the API are torn down, new ones get a worker (`kubelet_pods`)
    2. all missing sandboxes are made in one batch (`sandbox`), in a thread
    3. each worker that was woken asks for its next step
    4. the runtime carries out what was asked for, all together (`pod_runtime`)
    5. statuses that differ from those in the API are written; pods that have stopped are deleted for good
    6. nodes whose agent has answered become Ready

A worker is woken by a change of its pod, an event of the runtime, a probe's verdict or a timer, so a round costs what has
changed. Now and then the sandboxes are looked at for damage, and at once when a node's namespace is another one. Nothing is
kept that a new daemon could not find again: the pod's status, `ipam/<node>` and what the runtime finds running are enough.

Each pod fails alone, as a pod worker of Kubernetes does: whatever breaks in its worker is logged, has an Event (FailedSync)
and is tried again with back-off, or at once when the pod changes. The other pods of the round are not delayed.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from netlab.api.cluster import Node
from netlab.api.lab import Networking
from netlab.api.numbers import whole_number
from netlab.api.pods import Pod
from netlab.api.resources import CONFIG_MAPS, ENDPOINT_SLICES, LEASES, NAMESPACES, NODES, PODS, SECRETS, SERVICES
from netlab.containment import Containment
from netlab.controlplane.client import Client
from netlab.controlplane.informer import Informer
from netlab.controlplane.loop import ROUND_TIMES, RoundTimes, run_rounds
from netlab.dataplane.names import host_namespace, namespace_path, pod_namespace
from netlab.kernel import mounts
from netlab.kernel.door import Kernel
from netlab.node.kubelet.cluster_view import Cluster
from netlab.node.kubelet.convergence import note, unsettled
from netlab.node.kubelet.drain import SlicesAfter
from netlab.node.kubelet.failures import PodFailures
from netlab.node.kubelet.nodes import has_lost_pods
from netlab.node.kubelet.pods import PodWorker, Tools
from netlab.node.kubelet.sandbox import NodePods, Sandboxes
from netlab.node.kubelet.writing import Writer
from netlab.node.pods import containers
from netlab.node.pods.runtime import SANDBOX_REFUSED, STARTING, Changed, PodEvent, PodRuntime, SandboxLost
from netlab.process.records import inode
from netlab.state import StateDirectory

KINDS = (PODS, NODES, SERVICES, CONFIG_MAPS, SECRETS, NAMESPACES, LEASES, ENDPOINT_SLICES)
log = logging.getLogger("netlab.node")


class Kubelet:
    """Runs the pods of all nodes of one lab."""

    def __init__(
        self,
        *,
        client: Client,
        kernel: Kernel,
        runtime: PodRuntime,
        state: StateDirectory,
        networking: Networking,
        lab: str,
        node_stands: Callable[[str], bool],
        slices_after: SlicesAfter,
        round_times: RoundTimes = ROUND_TIMES,
        start_retry_seconds: float = containers.RETRY_SECONDS,
    ) -> None:
        """Make it; `slices_after` returns how far the controllers have followed the Pods (`kubelet_drain`)."""
        self._runtime = runtime
        self._node_stands = node_stands
        self._round_times = round_times
        self._lab = lab
        self._writer = Writer(client)
        self._changed = asyncio.Event()
        self.listeners: set[asyncio.Event] = set()  # set after each round: what settles need not change any object
        self._informers: dict[str, Informer[Any]] = {r.plural: Informer(client, r, changed=self._changed) for r in KINDS}
        for plural in ("configmaps", "secrets"):
            self._informers[plural].on_change.append(self._configuration_changed)
        self._informers["nodes"].on_change.append(self._node_changed)
        self._cluster = Cluster(
            {plural: informer.cache for plural, informer in self._informers.items()}, networking, slices_after
        )
        self._tools = Tools(kernel, runtime, state, self._cluster, start_retry_seconds)
        self._sandboxes = Sandboxes(kernel, state, networking, lab, runtime.make_namespaces)
        self._workers: dict[str, PodWorker] = {}  # by uid, in the order of their binding: that of their addresses
        self._woken: set[str] = set()
        self._begun = False  # the first round has looked at what an earlier daemon left
        self._failures = PodFailures(self._look_later)
        self._steps = Containment(log, "kubelet", time.monotonic)  # parts of a round that broke
        self._deleted: set[str] = set()  # uids deleted for good, until the informer has seen it too
        self._doubts = self._cleared = 0  # how often every sandbox was to be looked into, and how often of that it was
        runtime.subscribe(self._hear)

    # ---- the face
    @property
    def changed(self) -> asyncio.Event:
        """The event to set when the result of `slices_after` may change."""
        return self._changed

    async def run(self) -> None:
        """Work until cancelled; what runs keeps running afterwards."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._runtime.run(), name="kubelet runtime")
                for plural, informer in self._informers.items():
                    tasks.create_task(informer.run(), name=f"kubelet {plural}")
                rounds = run_rounds(self._changed, self._round, self._round_times)
                tasks.create_task(rounds, name="kubelet rounds")
        finally:
            ending = [task for worker in self._workers.values() for task in worker.probing.end_all()]
            await asyncio.gather(*ending, return_exceptions=True)

    def settled(self) -> list[str]:
        """Return a sentence for each pod and node that has not settled; empty when `up` need not wait."""
        pods = [words for pod in self._pods() if (words := self._unsettled(pod))]
        doubts = ["the inspection of the pods' networks"] if self._doubts != self._cleared else []
        return [*doubts, *pods, *self._runtime.settled()]

    def _unsettled(self, pod: Pod) -> str:
        if words := self._failures.message(pod):
            return "" if self._failures.is_final(pod) else words
        return unsettled(pod, self._workers.get(pod.metadata.uid))

    def notes(self) -> list[str]:
        """Return a sentence for each settled pod with a problem, and for each object that cannot be read."""
        pods = [words for pod in self._pods() if (words := self._note(pod))]
        return [*pods, *(words for informer in self._informers.values() for words in informer.problems())]

    def _note(self, pod: Pod) -> str:
        return self._failures.message(pod) or note(pod, self._workers.get(pod.metadata.uid))

    def look_again(self) -> None:
        """Look into every sandbox in the next round: what they are wired to may have been recreated."""
        self._doubts += 1
        self._changed.set()

    def look_at_everything(self) -> None:
        """Inspect every container, too: an event may be late."""
        self._runtime.look_again()
        self.look_again()

    # ---- the loop
    async def _round(self, resync: bool) -> bool:
        """Run one round; False when something was refused."""
        if not all(informer.has_synced for informer in self._informers.values()):
            return True
        try:
            return await self._look(resync)
        finally:
            for listener in self.listeners:
                listener.set()

    async def _look(self, resync: bool) -> bool:
        await self._meet_pods()
        doubts, done = self._doubts, False
        with self._steps.contain("sandboxes"):
            done = await self._make_sandboxes(resync=resync or doubts != self._cleared)
        self._cleared = doubts if done else self._cleared
        looked_at = self._to_look_at()
        for worker in looked_at:
            with self._failures.looking(worker):
                worker.advance()
        with self._steps.contain("runtime"):
            await self._runtime.carry_out(self._nodes)
        await self._finish(looked_at)
        with self._steps.contain("nodes"):
            await self._writer.write_nodes(self._nodes, self._informers["leases"].cache, self._node_stands)
        self._failures.keep({pod.key for pod in self._pods()} | {worker.pod.key for worker in self._workers.values()})
        return done and not (self._failures or self._steps.failures)

    def _to_look_at(self) -> list[PodWorker]:
        """Return the workers woken since the last round; those of terminating pods look at the rules each time."""
        woken, self._woken = self._woken, set()
        due = {uid for uid in woken if uid in self._workers and self._failures.is_due(self._workers[uid].pod)}
        self._woken |= {uid for uid in woken - due if uid in self._workers}
        return [w for uid, w in self._workers.items() if uid in due or (w.pod.terminating and self._failures.is_due(w.pod))]

    def _look_later(self, uid: str) -> None:
        """Look at a pod again in a round to come, and begin none for it: its back-off may not be over."""
        self._woken.add(uid)

    def _wake(self, uid: str) -> None:
        self._woken.add(uid)
        if worker := self._workers.get(uid):
            worker.dirty = True
        self._changed.set()

    def _hear(self, news: PodEvent) -> None:
        """Process an event of the runtime: one pod's failure must not end the loop."""
        with self._steps.contain("news"):
            self._take_in(news)

    def _take_in(self, news: PodEvent) -> None:
        if isinstance(news, Changed):
            if news.uid:
                self._wake(news.uid)
            self._changed.set()  # the end of a round wakes what waits for the runtime to settle
        elif isinstance(news, SandboxLost):
            self._sandboxes.lose(news.uid)
            if worker := self._workers.get(news.uid):
                worker.stands = False
            self._wake(news.uid)
        elif worker := self._workers.get(news.key.uid):
            with self._failures.guarded(worker):
                worker.hear(news)

    def _configuration_changed(self, *_: object) -> None:
        for uid, worker in self._workers.items():
            if worker.retry_configuration():
                self._wake(uid)

    def _node_changed(self, _key: str, before: Node | None, after: Node | None) -> None:
        """Have the pods of a node that was lost or has come back looked at: whether they are Ready depends on it."""
        if after is not None and has_lost_pods(before) != has_lost_pods(after):
            for worker in self._workers.values():
                if worker.node == after.metadata.name:
                    self._wake(worker.uid)

    def _pods(self) -> Iterable[Pod]:
        pods: dict[str, Pod] = self._informers["pods"].cache
        return pods.values()

    @property
    def _nodes(self) -> dict[str, Node]:
        return self._informers["nodes"].cache

    # ---- 1: workers
    async def _meet_pods(self) -> None:
        self._deleted &= {p.metadata.uid for p in self._pods()}
        bound = {p.metadata.uid: p for p in self._pods() if p.spec.node_name and p.metadata.uid not in self._deleted}
        if not self._begun:
            await self._clear_leftovers(bound)  # refused as a whole, and tried again, while an engine is away
            self._begun = True
        await self._tear_down([worker for uid, worker in self._workers.items() if uid not in bound])
        leaving = {worker.pod.key for uid, worker in self._workers.items() if uid not in bound}  # a namespace has the pod's name
        new = [pod for uid, pod in bound.items() if uid not in self._workers and pod.key not in leaving]
        for pod in sorted(filter(self._failures.is_due, new), key=_binding):
            with self._failures.meeting(pod):
                self._workers[pod.metadata.uid] = self._worker(pod)
                self._woken.add(pod.metadata.uid)
        for uid, worker in self._workers.items():
            if uid in bound and worker.pod is not bound[uid]:
                before, worker.pod = worker.pod, bound[uid]
                if worker.pod.spec != before.spec:
                    worker.retry_configuration()
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
        known = {(uid, c.name) for uid, pod in bound.items() for c in (*pod.spec.init_containers, *pod.spec.containers)}
        await self._runtime.recall(known)
        for node, uids in self._sandboxes.leftovers(bound).items():
            with self._steps.contain(f"removal on {node}"):
                await asyncio.to_thread(self._sandboxes.remove, node, uids)

    async def _tear_down(self, workers: list[PodWorker]) -> list[PodWorker]:
        """Release pods that have stopped or are gone, and remove the sandboxes of those that are; returns these."""
        for worker in workers:
            with self._failures.guarded(worker):
                worker.release()
        by_node: dict[str, list[PodWorker]] = {}
        for worker in workers:
            if worker.gone:
                by_node.setdefault(worker.node, []).append(worker)
        gone: list[PodWorker] = []
        for node, leaving in by_node.items():
            with self._steps.contain(f"removal on {node}"):
                await asyncio.to_thread(self._sandboxes.remove, node, [worker.uid for worker in leaving])
                gone += leaving
        for worker in gone:
            del self._workers[worker.uid]
            with self._failures.guarded(worker):
                await asyncio.to_thread(_remove_folder, worker.files.folder)
        return gone

    # ---- 2: sandboxes
    async def _make_sandboxes(self, *, resync: bool) -> bool:
        """Create or repair sandboxes; False when one could not be made."""
        self._stand_on_nodes()
        await self._refuse_sandboxes()
        for worker in self._workers.values() if resync else ():
            worker.restore_files()
        waiting = {worker.node for worker in self._workers.values() if not worker.stands}
        wanted = self._node_pods(None if resync else waiting | self._sandboxes.renewed(self._nodes))
        if not wanted:
            return True
        outcome = await asyncio.to_thread(self._sandboxes.ensure, wanted, resync=resync)
        for uid, address in outcome.addresses.items():
            worker = self._workers[uid]
            if not self._sandboxes.stands(uid):  # lost again in the meantime
                continue
            if not worker.stands or worker.address != address or worker.problem or uid in outcome.fresh:
                with self._failures.guarded(worker):
                    worker.stand(address, fresh=uid in outcome.fresh)
                self._wake(uid)
        for uid, problem in outcome.problems.items():
            worker = self._workers[uid]
            worker.problem = problem
            if problem != STARTING:
                await self._tell_refusal(worker)
        return all(self._workers[uid].is_refused for uid in outcome.problems)  # a user must act: no need to hurry

    async def _refuse_sandboxes(self) -> None:
        """Give no sandbox to a pod whose hostname cannot be: it stays ContainerCreating, as on a cluster."""
        for worker in self._workers.values():
            if not worker.stands and not worker.is_refused and (words := self._cluster.sandbox_problem(worker.pod)):
                worker.problem = f"{SANDBOX_REFUSED}: {words}"
                await self._tell_refusal(worker)

    async def _tell_refusal(self, worker: PodWorker) -> None:
        words = worker.problem.removeprefix(f"{SANDBOX_REFUSED}: ")
        await self._writer.tell(worker.pod, SANDBOX_REFUSED, f"Failed to create pod sandbox: {words}")

    def _stand_on_nodes(self) -> None:
        """Pods of the host network are in the namespaces of their nodes; in a new namespace nothing of theirs runs."""
        for worker in self._workers.values():
            if not worker.pod.spec.host_network or not self._node_stands(worker.node):
                continue
            home = inode(worker.node_path)
            moved = worker.stands and home != worker.home
            if (moved or not worker.stands) and (address := self._cluster.host_ip(worker.pod)):  # "" until the node is known
                with self._failures.guarded(worker):
                    worker.home = home
                    worker.stand(address, fresh=moved)
                self._wake(worker.uid)

    def _node_pods(self, names: set[str] | None) -> list[NodePods]:
        """Return what each of these nodes (None: all) shall hold, as far as it has a subnet and a namespace."""
        by_node: dict[str, list[Pod]] = {name: [] for name in self._nodes}
        for worker in self._workers.values():
            held = worker.released or self._cluster.sandbox_problem(worker.pod)
            if not worker.pod.spec.host_network and not held and worker.node in by_node:
                by_node[worker.node].append(worker.pod)
        return [
            NodePods(name, self._nodes[name].spec.pod_cidr, tuple(pods))
            for name, pods in sorted(by_node.items())
            if (names is None or name in names) and self._nodes[name].spec.pod_cidr and self._node_stands(name)
        ]

    # ---- 5: statuses
    async def _finish(self, looked_at: list[PodWorker]) -> None:
        now = time.time()
        stopped = [worker for worker in looked_at if worker.pod.terminating and worker.stopped]
        for worker in looked_at:
            if worker not in stopped:
                await self._show(worker, now)
        for worker in await self._tear_down(stopped):
            if await self._writer.delete_pod(worker.pod):
                self._deleted.add(worker.uid)

    async def _show(self, worker: PodWorker, now: float) -> None:
        """Write a pod's status, and an Event for whatever keeps it from running."""
        with self._failures.showing(worker):
            await self._writer.write_pod(worker, now)
        words, worker.broken = worker.broken, ""
        if words:
            await self._writer.tell(worker.pod, "FailedSync", f"Error syncing pod, retrying: {words}")
        for message in worker.refusals:
            await self._writer.tell(worker.pod, "Failed", f"Error: {message}")


def _binding(pod: Pod) -> int:
    """When the pod was bound, as a new pod's last change was that: not by a clock, which two runs of one file do not share."""
    return whole_number(pod.metadata.resource_version)


def _remove_folder(folder: Path) -> None:
    """Remove a pod's folder, and the file system in it."""
    mounts.unmount_below(folder)
    shutil.rmtree(folder, ignore_errors=True)
