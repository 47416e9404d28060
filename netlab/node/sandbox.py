"""Pod sandboxes: an address, a network namespace, a place on the node's bridge; many at once, and mended when broken.

A round over all pods of all nodes costs one batch of namespaces, one observe and one netlink batch per node, and one
small batch per new pod. What is programmed is the difference between wanted and observed, so that a second round does
nothing and a round after somebody's meddling (a veth deleted, hairpin off) repairs just that.

A pod's namespace may be long in coming (a container holds it, in runtime `docker`), and rounds go on meanwhile. Those leave
alone what has no news: a node is looked at when a pod of it has got its namespace, when the node's own is another one than
it was (then all that was on it is gone), and when somebody asks for a resync.

Addresses are host-local's (semantics 3.27, 3.28, 1.6): round robin, kept for the pod's life, on disk in `ipam/<node>`
before they are used. The same file names every sandbox that may exist, for a daemon that comes after a crash. If it is damaged or
gone, pods keep the addresses that their status has.
All functions block; the kubelet calls them in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from netlab.api.lab import Networking
from netlab.api.pods import Pod
from netlab.dataplane.bridge import CNI_BRIDGE, cni_bridge, gateway_of
from netlab.dataplane.diff import diff
from netlab.dataplane.names import host_namespace, namespace_path, pod_link, pod_namespace
from netlab.dataplane.pod import Sandbox, node_link, owns, pod_state
from netlab.dataplane.state import NamespaceState
from netlab.errors import DamagedRecordError, KernelError
from netlab.files import write_whole
from netlab.ipam import exhausted, is_pod_address, next_address
from netlab.kernel.door import Kernel
from netlab.node.processes import inode
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
        self._bridged: dict[str, int | None] = {}  # nodes that have been programmed by this daemon -> their namespace's inode
        self._standing: set[str] = set()  # uids whose own namespace has been programmed by this daemon
        self._lost: set[str] = set()  # uids that have lost theirs since the last round began

    def renewed(self, nodes: Collection[str]) -> set[str]:
        """Return those of all nodes on which nothing of ours can be: new ones, and those whose namespace is a new one."""
        self._bridged = {
            node: found for node, found in self._bridged.items() if node in nodes and found == inode(self._node_path(node))
        }
        return set(nodes) - self._bridged.keys()

    def stands(self, uid: str) -> bool:
        """Tell whether a pod's sandbox has been made and nothing has been heard since of its loss."""
        return uid in self._standing

    def ensure(self, nodes: Sequence[NodePods], *, resync: bool = False) -> Outcome:
        """Give every pod its sandbox; with `resync` look into those that stand, too."""
        self._lost.clear()
        problems = {uid: words for wanted in nodes for uid, words in self._reserve(wanted).items()}
        self._standing -= {pod.metadata.uid for wanted in nodes if wanted.node not in self._bridged for pod in wanted.pods}
        planned = {wanted.node: self._plan(wanted) for wanted in nodes}
        paths = {s.uid: s.path for sandboxes in planned.values() for s in sandboxes if s.uid not in self._standing}
        pods = {pod.metadata.uid: pod for wanted in nodes for pod in wanted.pods}
        missing = self._make_namespaces({path: pods[uid] for uid, path in paths.items()})
        problems.update(missing)
        for wanted in nodes:
            sandboxes = [sandbox for sandbox in planned[wanted.node] if sandbox.uid not in missing]
            if resync or wanted.node not in self._bridged or any(s.uid not in self._standing for s in sandboxes):
                problems.update(self._program(wanted, sandboxes, resync=resync))
        reached = (s for sandboxes in planned.values() for s in sandboxes if s.uid in self._standing and s.uid not in problems)
        return Outcome({sandbox.uid: sandbox.address.partition("/")[0] for sandbox in reached}, problems)

    def lose(self, uid: str) -> None:
        """Take in that a pod's namespace is not there any more, or is another one. May be called during a round."""
        self._lost.add(uid)
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
        new = [pod for pod in wanted.pods if pod.metadata.uid not in reservations.pods]
        for pod in sorted(new, key=lambda pod: not pod.status.pod_ip):  # those that had an address before the file was lost
            address = _known_address(pod, wanted.subnet, in_use)
            if address is None:
                address = next_address(wanted.subnet, reservations.last or None, in_use)
                reservations.last = address or reservations.last
            if address is None:
                problems[pod.metadata.uid] = exhausted(wanted.subnet)
                continue
            in_use.add(address)
            reservations.pods[pod.metadata.uid] = self._reservation(pod, address)
        if len(in_use) != before:
            self._save(wanted.node)
        return problems

    def _reservation(self, pod: Pod, address: str) -> Reservation:
        meta = pod.metadata
        return Reservation(
            address,
            pod_namespace(self._lab, meta.namespace, meta.name),
            pod_link(self._lab, meta.namespace, meta.name, meta.uid),
        )

    def _reservations(self, node: str) -> Reservations:
        if node not in self._nodes:
            try:
                self._nodes[node] = self._state.read(self._state.ipam / node, Reservations)
            except FileNotFoundError:
                self._nodes[node] = Reservations()
            except DamagedRecordError as error:
                log.warning(
                    "record=%s state=damaged remedy=%r error=%r", node, "pods keep the addresses of their status", error.message
                )
                self._nodes[node] = Reservations()
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

    def _program(self, wanted: NodePods, sandboxes: Sequence[Sandbox], *, resync: bool) -> dict[str, str]:
        """Program a node and these pods of it; returns what the kernel said against which."""
        try:
            self._program_node(wanted, sandboxes)
        except KernelError as error:
            log.warning("node=%s sandboxes=failed error=%s", wanted.node, error.message)
            return {sandbox.uid: error.message for sandbox in sandboxes}
        said = {sandbox.uid: self._program_pod(sandbox, resync=resync) for sandbox in sandboxes}
        return {uid: words for uid, words in said.items() if words}

    def _program_node(self, wanted: NodePods, sandboxes: Sequence[Sandbox]) -> None:
        path = self._node_path(wanted.node)
        namespace = inode(path)  # before: should it be replaced meanwhile, that is seen
        bridge = cni_bridge(self._lab, wanted.subnet)
        desired = NamespaceState(
            links=(*bridge.links, *(node_link(sandbox) for sandbox in sandboxes)),
            addresses=bridge.addresses,
            sysctls=bridge.sysctls,
        )
        self._converge(path, desired, node=True)
        self._bridged[wanted.node] = namespace

    def _node_path(self, node: str) -> str:
        return namespace_path(host_namespace(self._lab, node))

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
        if sandbox.uid in self._lost:  # what was programmed is not the pod's any more
            self._standing.discard(sandbox.uid)
        return ""

    def _converge(self, path: str, desired: NamespaceState, *, node: bool) -> None:
        observed = self._kernel.observe(path, sysctls=tuple(desired.sysctls))
        if operations := diff(desired, observed, _owned_on_node if node else owns):
            self._kernel.perform(path, operations)


def _known_address(pod: Pod, subnet: str, in_use: Collection[str]) -> str | None:
    """Return the address that a pod's status has, unless it is none of the node's or another pod has it."""
    found = pod.status.pod_ip
    return found if found and found not in in_use and is_pod_address(subnet, found) else None


def _owned_on_node(name: str) -> bool:
    """The kubelet is responsible for the bridge and its ports; eth0 and flannel.1 are others'."""
    return name == CNI_BRIDGE or name.startswith(POD_LINK_PREFIX)
