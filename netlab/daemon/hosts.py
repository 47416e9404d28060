"""The lab's own controller: from the Lab object to hosts, Node objects and the processes of each.

Theory. `up` writes the Lab object; this controller makes it true, level-triggered like any other:

    Lab.spec -> plan_hosts -> runtime (namespaces, cables, addresses) -> Node objects -> agents, workload servers, edge
    -> Lab.status.hosts, observedGeneration

A node that left the file goes the other way round. Its Node object is deleted, but a finalizer keeps it: nothing is scheduled
to it any more, the edge leaves it out, its pods are deleted with their grace. When the last is gone the finalizer is taken
away, the other nodes forget its routes, and only then its processes are ended and its namespace is removed.

Lab.status.hosts is the memory of who has which address, so nobody is renumbered when the file is edited, or when the daemon
starts anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

import msgspec

from netlab.api.core import Node, NodeAddress, NodeStatus, Pod
from netlab.api.lab import HostStatus, Lab, LabStatus
from netlab.api.meta import Labels, ObjectMeta
from netlab.api.resources import LABS, NODES, PODS, Json
from netlab.api.wellknown import HOST_NAME_LABEL
from netlab.controlplane.auth import EDGE as EDGE_USER
from netlab.controlplane.auth import node_user, token_file
from netlab.controlplane.client import Client
from netlab.controlplane.informer import Informer
from netlab.controlplane.loop import run_rounds
from netlab.daemon.supervisor import Supervisor
from netlab.dataplane.names import EDGE
from netlab.errors import NetlabError, is_already_exists, is_conflict, is_not_found
from netlab.ipam import API_SERVER_PORT, AddressPlan
from netlab.node.spawn import ProcessSpec
from netlab.runtime.hosts import HostPlan, path, plan_hosts
from netlab.runtime.netns import NetnsRuntime
from netlab.runtime.statedir import StateDirectory

DRAIN = "netlab/drain"  # the finalizer of Nodes: a node goes when its pods are gone
log = logging.getLogger("netlab.daemon")


class LabController:
    """Keeps the hosts of one lab."""

    def __init__(
        self,
        *,
        client: Client,
        runtime: NetnsRuntime,
        supervisor: Supervisor,
        state: StateDirectory,
        on_hosts: Callable[[Lab, Sequence[HostStatus]], None],
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._supervisor = supervisor
        self._state = state
        self._on_hosts = on_hosts  # told before processes start: tokens, the API server's address on the underlay
        self._changed = asyncio.Event()
        self._labs: Informer[Lab] = Informer(client, LABS, changed=self._changed)
        self._nodes: Informer[Node] = Informer(client, NODES, changed=self._changed)
        self._pods: Informer[Pod] = Informer(client, PODS, changed=self._changed)
        self._made: tuple[HostStatus, ...] | None = None  # the hosts that were last brought to what they should be
        self.problem = ""  # why the last round failed, empty when it did not

    async def run(self) -> None:
        """Reconcile for ever."""
        async with asyncio.TaskGroup() as tasks:
            for informer in (self._labs, self._nodes, self._pods):
                tasks.create_task(informer.run())
            tasks.create_task(run_rounds(self._changed, self._round))

    async def _round(self, resync: bool) -> bool:
        """Bring hosts, Node objects and processes to what the Lab says; False when something refused."""
        lab = self._labs.cache.get(self._state.lab)
        if lab is None or not (self._nodes.has_synced and self._pods.has_synced):
            return True
        try:
            await self._reconcile(lab, resync=resync)
        except NetlabError as error:
            if is_conflict(error):  # our picture of the lab was older than the lab: the news is on its way, and wakes us
                return True
            self.problem = str(error)
            log.exception("round=failed lab=%s", self._state.lab)
            return False
        self.problem = ""
        return True

    async def _reconcile(self, lab: Lab, *, resync: bool) -> None:
        plan = plan_hosts(lab, lab.status.hosts)
        leaving = [host for host in plan.removed if host.is_node and host.name in self._nodes.cache]
        staying = (*plan.wanted, *leaving)
        if resync or staying != self._made:
            await asyncio.to_thread(self._runtime.converge, lab, staying)
            self._on_hosts(lab, staying)
            self._made = staying
        await self._register_nodes(lab, plan)
        await self._supervisor.converge(self._processes(lab, [host for host in staying if host.is_node]))
        gone = [host for host in plan.removed if host not in leaving]
        await asyncio.to_thread(self._runtime.remove, lab.metadata.name, gone)
        await self._report(lab, staying, settled=not leaving)

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
        """Take a node one step further on its way out: ask for its deletion, drain it, let its object go."""
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

    def _processes(self, lab: Lab, nodes: Sequence[HostStatus]) -> Mapping[str, ProcessSpec]:
        """Return the processes a lab with these nodes should have, by name."""
        name, api = lab.metadata.name, AddressPlan.of(lab).api_server
        common = {"lab": name, "state": str(self._state.root), "server": f"https://{api}:{API_SERVER_PORT}"}
        common["ca"] = str(self._state.certificate_authority)
        specs = [self._spec(EDGE, "edge", path(name, EDGE), {**common, "token": str(self._state.tokens / token_file(EDGE_USER))})]
        for node in nodes:
            arguments = {**common, "node": node.name, "token": str(self._state.tokens / token_file(node_user(node.name)))}
            specs.append(self._spec(agent_name(node.name), "agent", path(name, node.name), arguments))
            specs.append(self._spec(f"workloads-{node.name}", "workloads", path(name, node.name), arguments))
        return {spec.name: spec for spec in specs}

    def _spec(self, name: str, entry: str, namespace: str, arguments: dict[str, str]) -> ProcessSpec:
        return ProcessSpec(name=name, entry=entry, namespace=namespace, arguments=arguments, log=str(self._state.log(name)))

    async def _report(self, lab: Lab, hosts: Sequence[HostStatus], *, settled: bool) -> None:
        """Write Lab.status when it changed. Hosts on their way out keep the generation from being called observed."""
        generation = lab.metadata.generation if settled else lab.status.observed_generation
        status = LabStatus(hosts=tuple(hosts), observed_generation=generation, conditions=lab.status.conditions)
        if status != lab.status:
            body = LABS.encode(msgspec.structs.replace(lab, status=status))
            await self._client.update(LABS, body, subresource="status")


def agent_name(node: str) -> str:
    """Return the name of the process that is a node's agent."""
    return f"agent-{node}"


def node_labels(name: str, own: Labels) -> Labels:
    """Return a node's labels: those every node of a cluster has, and its own."""
    return {HOST_NAME_LABEL: name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **own}


def new_node(host: HostStatus, labels: Labels) -> Node:
    """Return the Node object of a host."""
    addresses = (NodeAddress(type="InternalIP", address=host.address), NodeAddress(type="Hostname", address=host.name))
    return Node(metadata=ObjectMeta(name=host.name, labels=labels, finalizers=(DRAIN,)), status=NodeStatus(addresses=addresses))
