"""Pod sandboxes: an address, a network namespace, a place on the node's bridge; many at once, and mended when broken.

A round over all pods of all nodes costs one batch of namespaces, one observe and one netlink batch per node, and one
small batch per new pod. What is programmed is the difference between wanted and observed, so that a second round does
nothing and a round after somebody's meddling (a veth deleted, hairpin off) repairs just that.

Addresses are host-local's (semantics 3.27, 3.28, 1.6): round robin, kept for the pod's life, on disk in `ipam/<node>`
before they are used. The same file names every sandbox that may exist, for a daemon that comes after a crash.
All functions block; the kubelet calls them in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from netlab.api.lab import Networking
from netlab.api.pods import Pod
from netlab.dataplane.bridge import CNI_BRIDGE, cni_bridge, gateway_of
from netlab.dataplane.diff import diff
from netlab.dataplane.names import host_namespace, namespace_path, pod_link, pod_namespace
from netlab.dataplane.pod import Sandbox, node_link, owns, pod_state
from netlab.dataplane.state import NamespaceState
from netlab.errors import KernelError
from netlab.files import write_whole
from netlab.ipam import exhausted, next_address
from netlab.kernel.door import Kernel
from netlab.runtime.statedir import StateDirectory

POD_LINK_PREFIX = "veth"
MakeNamespaces = Callable[[Mapping[str, Pod]], Mapping[str, str]]  # paths and pods -> why a pod (by uid) has none yet
log = logging.getLogger("netlab.node")


class Reservation(msgspec.Struct, frozen=True):
    """One pod's address, and what to remove when the pod is gone."""

    address: str
    namespace: str  # name of the network namespace
    link: str


class Reservations(msgspec.Struct):
    """The content of `ipam/<node>`: who has which address, and the one handed out last."""

    last: str = ""
    pods: dict[str, Reservation] = {}


@dataclass(frozen=True)
class Outcome:
    """What a round has reached: the address of each pod whose sandbox stands, and why others do not."""

    addresses: Mapping[str, str]
    problems: Mapping[str, str]


@dataclass(frozen=True)
class NodePods:
    """The pods (not of the host network) that a node shall have sandboxes for; new ones get addresses in this order."""

    node: str
    subnet: str
    pods: tuple[Pod, ...]


class Sandboxes:
    """All pod sandboxes of a lab."""

    def __init__(
        self, kernel: Kernel, state: StateDirectory, networking: Networking, lab: str, make_namespaces: MakeNamespaces
    ) -> None:
        self._kernel = kernel
        self._make_namespaces = make_namespaces
        self._state = state
        self._networking = networking
        self._lab = lab
        self._nodes: dict[str, Reservations] = {}
        self._standing: set[str] = set()  # uids whose own namespace has been programmed by this daemon

    def ensure(self, nodes: Sequence[NodePods], *, resync: bool = False) -> Outcome:
        """Give every pod its sandbox; with `resync` look into those that stand, too."""
        problems = {uid: words for wanted in nodes for uid, words in self._reserve(wanted).items()}
        planned = {wanted.node: self._plan(wanted) for wanted in nodes}
        paths = {s.uid: s.path for sandboxes in planned.values() for s in sandboxes if s.uid not in self._standing}
        pods = {pod.metadata.uid: pod for wanted in nodes for pod in wanted.pods}
        missing = self._make_namespaces({path: pods[uid] for uid, path in paths.items()})
        problems.update(missing)
        addresses: dict[str, str] = {}
        for wanted in nodes:
            sandboxes = [sandbox for sandbox in planned[wanted.node] if sandbox.uid not in missing]
            try:
                self._program_node(wanted, sandboxes)
            except KernelError as error:
                log.warning("node=%s sandboxes=failed error=%s", wanted.node, error.message)
                problems.update((sandbox.uid, error.message) for sandbox in sandboxes)
                continue
            for sandbox in sandboxes:
                if words := self._program_pod(sandbox, resync=resync):
                    problems[sandbox.uid] = words
                else:
                    addresses[sandbox.uid] = sandbox.address.partition("/")[0]
        return Outcome(addresses, problems)

    def lose(self, uid: str) -> None:
        """Take in that a pod's namespace is not there any more, or is another one."""
        self._standing.discard(uid)

    def remove(self, node: str, uids: Iterable[str]) -> None:
        """Remove sandboxes: namespace, then address. What is gone already is no error.

        With a namespace its veth goes, and the other end on the node with it, many at once and in the background;
        deleting the links one by one costs the kernel 15 ms each. Should a process still hold the namespace, the
        node's next difference removes the port.
        """
        reservations = self._reservations(node)
        leaving = {uid: found for uid in uids if (found := reservations.pods.get(uid))}
        if not leaving:
            return
        self._kernel.delete_namespaces([namespace_path(found.namespace) for found in leaving.values()])
        for uid, found in leaving.items():
            (self._state.namespaces / found.namespace).unlink(missing_ok=True)
            self._standing.discard(uid)
            del reservations.pods[uid]
        self._save(node)

    def leftovers(self, live: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return, per node, the sandboxes on record whose pods are gone."""
        alive = set(live)
        nodes = (
            [path.name for path in self._state.ipam.iterdir() if not path.name.startswith(".")]
            if self._state.ipam.is_dir()
            else []
        )
        return {node: tuple(uid for uid in self._reservations(node).pods if uid not in alive) for node in sorted(nodes)}

    # ---- addresses
    def _reserve(self, wanted: NodePods) -> dict[str, str]:
        """Reserve an address for each pod that has none; returns why for those that get none."""
        reservations = self._reservations(wanted.node)
        in_use = {found.address for found in reservations.pods.values()}
        problems, before = {}, len(in_use)
        for pod in wanted.pods:
            meta = pod.metadata
            if meta.uid in reservations.pods:
                continue
            address = next_address(wanted.subnet, reservations.last or None, in_use)
            if address is None:
                problems[meta.uid] = exhausted(wanted.subnet)
                continue
            in_use.add(address)
            reservations.last = address
            reservations.pods[meta.uid] = Reservation(
                address,
                pod_namespace(self._lab, meta.namespace, meta.name),
                pod_link(self._lab, meta.namespace, meta.name, meta.uid),
            )
        if len(in_use) != before:
            self._save(wanted.node)
        return problems

    def _reservations(self, node: str) -> Reservations:
        if node not in self._nodes:
            try:
                content = (self._state.ipam / node).read_bytes()
            except FileNotFoundError:
                content = b"{}"
            self._nodes[node] = msgspec.json.decode(content, type=Reservations)
        return self._nodes[node]

    def _save(self, node: str) -> None:
        write_whole(self._state.ipam / node, msgspec.json.encode(self._nodes[node]))

    # ---- the kernel
    def _plan(self, wanted: NodePods) -> tuple[Sandbox, ...]:
        reserved = self._reservations(wanted.node).pods
        gateway, _, prefix = gateway_of(wanted.subnet).partition("/")
        return tuple(
            Sandbox(
                lab=self._lab,
                namespace=pod.metadata.namespace,
                pod=pod.metadata.name,
                uid=pod.metadata.uid,
                path=namespace_path(reserved[pod.metadata.uid].namespace),
                address=f"{reserved[pod.metadata.uid].address}/{prefix}",
                gateway=gateway,
                pod_subnet=self._networking.pod_subnet,
            )
            for pod in wanted.pods
            if pod.metadata.uid in reserved
        )

    def _program_node(self, wanted: NodePods, sandboxes: Sequence[Sandbox]) -> None:
        bridge = cni_bridge(self._lab, wanted.subnet)
        desired = NamespaceState(
            links=(*bridge.links, *(node_link(sandbox) for sandbox in sandboxes)),
            addresses=bridge.addresses,
            sysctls=bridge.sysctls,
        )
        self._converge(namespace_path(host_namespace(self._lab, wanted.node)), desired, node=True)

    def _program_pod(self, sandbox: Sandbox, *, resync: bool) -> str:
        """Program the pod's own side; returns what the kernel said against it."""
        if sandbox.uid in self._standing and not resync:
            return ""
        try:
            self._converge(sandbox.path, pod_state(sandbox), node=False)
        except KernelError as error:
            self._standing.discard(sandbox.uid)
            return error.message
        self._standing.add(sandbox.uid)
        return ""

    def _converge(self, path: str, desired: NamespaceState, *, node: bool) -> None:
        observed = self._kernel.observe(path, sysctls=tuple(desired.sysctls))
        if operations := diff(desired, observed, _owned_on_node if node else owns):
            self._kernel.perform(path, operations)


def _owned_on_node(name: str) -> bool:
    """The kubelet is responsible for the bridge and its ports; eth0 and flannel.1 are others'."""
    return name == CNI_BRIDGE or name.startswith(POD_LINK_PREFIX)
