"""The lab's own controller: from the Lab object to hosts, Node objects and the processes of each.

Theory. `up` writes the Lab object; this controller reconciles it, level-triggered like any other:

    Lab.spec -> plan_hosts -> runtime (namespaces or containers, cables, addresses) -> Node objects -> processes
    -> Lab.status.hosts, observedGeneration

A node that left the file is removed in the reverse order. Its Node object is deleted, but a
finalizer keeps it: no pod is scheduled to it any more, the edge leaves it out, its pods are deleted
with their grace period. When the last pod is gone, the controller removes the finalizer, the other
nodes remove its routes, and only then the controller ends its processes and removes its namespace.

Lab.status.hosts stores the address of each host, so hosts keep their addresses when the file is
edited and when the daemon restarts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from netlab.api.cluster import Node, NodeAddress, NodeStatus
from netlab.api.lab import HostStatus, Lab, LabStatus
from netlab.api.meta import Labels, ObjectMeta
from netlab.api.pods import Pod
from netlab.api.resources import LABS, NODES, PODS, Json
from netlab.api.wellknown import HOST_NAME_LABEL
from netlab.containment import Contained, describe
from netlab.controlplane.client import Client
from netlab.controlplane.informer import Informer
from netlab.controlplane.loop import run_rounds
from netlab.daemon.machinery import Machinery
from netlab.dataplane.names import EDGE, FABRIC
from netlab.errors import NetlabError, is_already_exists, is_conflict, is_not_found
from netlab.hosts.hosts import HostPlan, plan_hosts

DRAIN = "netlab/drain"  # the finalizer of Nodes: a node is removed after its pods
log = logging.getLogger("netlab.daemon")


class LabController:
    """Keeps the hosts of one lab."""

    def __init__(
        self,
        *,
        client: Client,
        machinery: Machinery,
        lab: str,
        before: Callable[[Lab, Sequence[HostStatus]], None],
        after: Callable[[Lab, int], None],
    ) -> None:
        self._client = client
        self._machinery = machinery
        self._runtime = machinery.hosts
        self._lab = lab
        self._before = before  # called before hosts are created: prepares their files
        self._after = after  # called when they exist, with the number of changes
        self._lost = False  # a host may have changed
        self._changed = asyncio.Event()
        self._labs: Informer[Lab] = Informer(client, LABS, changed=self._changed)
        self._nodes: Informer[Node] = Informer(client, NODES, changed=self._changed)
        self._pods: Informer[Pod] = Informer(client, PODS, changed=self._changed)
        self._made: tuple[HostStatus, ...] | None = None  # the hosts as of the last successful round
        self.repairs = 0  # rounds that had to repair hosts
        self.problem = ""  # why the last round failed, "" if it did not
        self.listeners: set[asyncio.Event] = set()  # set after every round, which may change no object

    async def run(self) -> None:
        """Reconcile until cancelled."""
        loop = asyncio.get_running_loop()

        def lost() -> None:
            loop.call_soon_threadsafe(self.look_again)

        end = await asyncio.to_thread(self._runtime.watch, lost)
        try:
            await self._run()
        finally:
            end()

    def look_again(self) -> None:
        """Check every host in the next round, because one may be lost.

        `standing` is False until then.
        """
        self._lost = True
        self._changed.set()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for informer in (self._labs, self._nodes, self._pods):
                tasks.create_task(informer.run())
            tasks.create_task(run_rounds(self._changed, self._round))

    @property
    def standing(self) -> bool:
        """Whether every host exists as it should, and no loss of one was reported since."""
        return self._made is not None and not self._lost

    async def _round(self, resync: bool) -> bool:
        """Make hosts, Node objects and processes match the Lab.

        Return False if an operation was refused.
        """
        done = await self._try(resync=resync)
        for listener in self.listeners:
            listener.set()
        return done

    async def _try(self, *, resync: bool) -> bool:
        lab = self._labs.cache.get(self._lab)
        if lab is None or not (self._nodes.has_synced and self._pods.has_synced):
            return True
        with Contained() as attempt:
            await self._reconcile(lab, resync=resync)
        error = attempt.error
        if error is None:
            self.problem = ""
            return True
        if is_conflict(error):  # the controller's copy of the Lab is old: the pending watch event wakes it
            return True
        words = str(error) if isinstance(error, NetlabError) else describe(error)
        if words != self.problem:  # log an unavailable engine once, not every second
            log.warning(
                "round=failed lab=%s error=%s", self._lab, words, exc_info=None if isinstance(error, NetlabError) else error
            )
        self.problem = words
        return False

    async def _reconcile(self, lab: Lab, *, resync: bool) -> None:
        plan = plan_hosts(lab, lab.status.hosts)
        leaving = [host for host in plan.removed if host.is_node and host.name in self._nodes.cache]
        staying = (*plan.wanted, *leaving)
        if resync or self._lost or staying != self._made or not self._all_stand(staying):
            await self._make(lab, staying)
        await self._register_nodes(lab, plan)
        await self._machinery.processes(lab, [host for host in staying if host.is_node])
        gone = [host for host in plan.removed if host not in leaving]
        await asyncio.to_thread(self._runtime.remove, lab.metadata.name, gone)
        await self._report(lab, staying, settled=not leaving)

    def _all_stand(self, hosts: Sequence[HostStatus]) -> bool:
        """Return whether all hosts exist.

        Processes of a removed namespace cannot restart before.
        """
        return all(self._runtime.stands(name) for name in (FABRIC, EDGE, *(host.name for host in hosts)))

    async def _make(self, lab: Lab, hosts: tuple[HostStatus, ...]) -> None:
        """Check the hosts and repair what differs.

        Homeless processes are ended first: they keep a removed namespace alive, and in it one end
        of a cable. Stopped processes are resumed if `up` has requested a check.
        """
        if self._lost:
            self._machinery.resume()
        self._made, self._lost = None, False
        await self._machinery.end_homeless()
        self._before(lab, hosts)
        changes = await asyncio.to_thread(self._runtime.converge, lab, hosts)
        self._after(lab, changes)
        self.repairs += bool(changes)
        self._made = hosts

    async def _register_nodes(self, lab: Lab, plan: HostPlan) -> None:
        labels = {node.name: node.labels for node in lab.spec.nodes}
        for host in plan.nodes:
            await self._register(host, node_labels(host.name, labels[host.name]))
        wanted = {host.name for host in plan.nodes}
        for name, node in dict(self._nodes.cache).items():
            if name not in wanted or node.metadata.deletion_timestamp is not None:
                await self._retire(node)

    async def _register(self, host: HostStatus, labels: Labels) -> None:
        present = self._nodes.cache.get(host.name)
        if present is None:
            try:
                await self._client.create(NODES, NODES.encode(new_node(host, labels)))
            except NetlabError as error:
                if not is_already_exists(error):
                    raise
            return
        stale: Json = {key: None for key in present.metadata.labels if key not in labels}
        if stale or any(present.metadata.labels.get(key) != value for key, value in labels.items()):
            await self._client.patch(NODES, host.name, {"metadata": {"labels": {**stale, **labels}}})

    async def _retire(self, node: Node) -> None:
        """Perform the next step of a node's removal: delete, drain, remove the finalizer."""
        name = node.metadata.name
        pods = [pod for pod in self._pods.cache.values() if pod.spec.node_name == name]
        try:
            if node.metadata.deletion_timestamp is None:
                await self._client.delete(NODES, name)
            elif not pods:
                await self._client.patch(NODES, name, {"metadata": {"finalizers": None}})
            for pod in [pod for pod in pods if not pod.terminating]:
                await self._client.delete(PODS, pod.metadata.name, namespace=pod.metadata.namespace)
        except NetlabError as error:
            if not is_not_found(error):
                raise

    async def _report(self, lab: Lab, hosts: Sequence[HostStatus], *, settled: bool) -> None:
        """Write Lab.status if it changed.

        The generation is not observed while hosts are being removed.
        """
        generation = lab.metadata.generation if settled else lab.status.observed_generation
        status = LabStatus(hosts=tuple(hosts), observed_generation=generation, conditions=lab.status.conditions)
        if status != lab.status:
            body = LABS.encode(msgspec.structs.replace(lab, status=status))
            await self._client.update(LABS, body, subresource="status")


def node_labels(name: str, own: Labels) -> Labels:
    """Return a node's labels: those of every node of a cluster, and its own."""
    return {HOST_NAME_LABEL: name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **own}


def new_node(host: HostStatus, labels: Labels) -> Node:
    """Return the Node object of a host."""
    addresses = (NodeAddress(type="InternalIP", address=host.address), NodeAddress(type="Hostname", address=host.name))
    return Node(metadata=ObjectMeta(name=host.name, labels=labels, finalizers=(DRAIN,)), status=NodeStatus(addresses=addresses))
