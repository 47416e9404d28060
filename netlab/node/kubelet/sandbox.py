"""Pod sandboxes: an address, a network namespace, a place on the node's bridge; many at once, and repaired when broken.

A round over all pods of all nodes costs one batch of namespaces, one observe and one netlink batch per node, and one
small batch per new pod. What is programmed is the difference between wanted and observed, so that a second round does
nothing and a round after a manual change (a veth deleted, hairpin off) repairs just that.

A pod's namespace may be long in coming (a container holds it, in runtime `docker`), and rounds continue until then. Those leave
alone what is unchanged: a node is inspected when a pod of it has got its namespace, when the node's own is another one than
it was (then all that was on it is gone), and when a resync is requested.

Each pod fails alone. A batch that the kernel refuses is repeated pod by pod, so that what is wrong with one is reported
for that one, and the others are made. The pod is left out of the batches that follow until its back-off is over or it changes.
A node whose own part is refused (its bridge) takes its pods along.

A resync first looks whether the namespaces of pods are there. One that was removed by hand is made again; what runs in the
old one is useless, so the outcome names the pods whose namespace is `fresh`. A pod's cable is looked at as a pair
(`dataplane.cables`): its end on the node may lead into a namespace that has no name any more.

Addresses are host-local's (semantics 3.27, 3.28, 1.6): round robin, kept for the pod's life, on disk in `ipam/<node>`
before they are used. The same file names every sandbox that may exist, for a daemon that comes after a crash. If it is damaged or
gone, pods keep the addresses that their status has.
All functions block; the kubelet calls them in a thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from netlab.api.lab import Networking
from netlab.api.pods import Pod
from netlab.containment import Contained, Containment, describe
from netlab.dataplane.bridge import CNI_BRIDGE, cni_bridge, gateway_of
from netlab.dataplane.cables import severed
from netlab.dataplane.diff import diff
from netlab.dataplane.names import host_namespace, namespace_path, pod_link, pod_namespace
from netlab.dataplane.pod import Sandbox, node_link, node_neighbour, owns, pod_state
from netlab.dataplane.state import NamespaceState, Operation, Verb
from netlab.errors import DamagedRecordError
from netlab.files import write_whole
from netlab.hosts.claims import release
from netlab.ipam import exhausted, is_pod_address, next_address
from netlab.kernel.door import Kernel
from netlab.overlay.backends import backend
from netlab.process.records import inode
from netlab.state import StateDirectory

POD_LINK_PREFIX = "veth"
MakeNamespaces = Callable[[Mapping[str, Pod]], Mapping[str, str]]  # paths and pods -> why a pod (by uid) has none yet
log = logging.getLogger("netlab.node")


class Reservation(msgspec.Struct, frozen=True):
    """One pod's address, and what to remove when the pod is gone."""

    address: str
    namespace: str  # name of the network namespace
    link: str


class Reservations(msgspec.Struct):
    """The content of `ipam/<node>`: which pod has which address, and the one assigned last."""

    last: str = ""
    pods: dict[str, Reservation] = {}


@dataclass(frozen=True)
class Outcome:
    """What a round has reached: the address of each pod whose sandbox exists, and why others do not.

    `fresh` are those of the pods reached whose namespace was made since the last round: nothing can run in it yet.
    """

    addresses: Mapping[str, str]
    problems: Mapping[str, str]
    fresh: frozenset[str] = frozenset()


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
        self._mtu = backend(lab, networking).pod_mtu
        self._nodes: dict[str, Reservations] = {}
        self._bridged: dict[str, int | None] = {}  # nodes that have been programmed by this daemon -> their namespace's inode
        self._standing: dict[str, int | None] = {}  # uids whose namespace this daemon has programmed -> its inode
        self._fresh: set[str] = set()  # uids whose namespace was made by this daemon, and that have not stood in it yet
        self._lost: set[str] = set()  # uids that have lost theirs since the last round began
        self._failed = Containment(log, "sandbox", time.monotonic)  # what was refused: ports of pods by uid, nodes, namespaces

    def renewed(self, nodes: Collection[str]) -> set[str]:
        """Return the nodes without any sandbox: new ones, and those with a new namespace."""
        self._bridged = {
            node: found for node, found in self._bridged.items() if node in nodes and found == inode(self._node_path(node))
        }
        return set(nodes) - self._bridged.keys()

    def stands(self, uid: str) -> bool:
        """Return whether a pod's sandbox has been made and no loss has been reported since."""
        return uid in self._standing

    def ensure(self, nodes: Sequence[NodePods], *, resync: bool = False) -> Outcome:
        """Give every pod its sandbox; with `resync` look into existing ones, too."""
        self._lost.clear()
        problems: dict[str, str] = {}
        planned: dict[str, tuple[Sandbox, ...]] = {}
        for wanted in nodes:
            planned[wanted.node], refused = self._planned(wanted)
            problems.update(refused)
        self._forget_unmade(planned, resync=resync)
        missing = self._make_missing(nodes, planned)
        problems.update(missing)
        for wanted in nodes:
            sandboxes = [sandbox for sandbox in planned[wanted.node] if sandbox.uid not in missing]
            if resync or wanted.node not in self._bridged or any(s.uid not in self._standing for s in sandboxes):
                problems.update(self._program(wanted, sandboxes, resync=resync))
        reached = (s for sandboxes in planned.values() for s in sandboxes if s.uid in self._standing and s.uid not in problems)
        addresses = {sandbox.uid: sandbox.address.partition("/")[0] for sandbox in reached}
        fresh = frozenset(self._fresh.intersection(addresses))
        self._fresh -= fresh
        return Outcome(addresses, problems, fresh)

    def _forget_unmade(self, planned: Mapping[str, Sequence[Sandbox]], *, resync: bool) -> None:
        """Find which pods have lost their sandbox: those of a new node, and at a resync those whose namespace is gone."""
        for node, sandboxes in planned.items():
            for sandbox in sandboxes:
                if node not in self._bridged or (resync and not self._is_there(sandbox)):
                    self._standing.pop(sandbox.uid, None)

    def _is_there(self, sandbox: Sandbox) -> bool:
        home = self._standing.get(sandbox.uid)
        return self._kernel.namespace_exists(sandbox.path) and home == inode(sandbox.path)

    def _make_missing(self, nodes: Sequence[NodePods], planned: Mapping[str, Sequence[Sandbox]]) -> Mapping[str, str]:
        """Make the namespaces that are missing; returns why some pods have none yet."""
        pods = {pod.metadata.uid: pod for wanted in nodes for pod in wanted.pods}
        paths = {s.path: s.uid for sandboxes in planned.values() for s in sandboxes if s.uid not in self._standing}
        unmade = {uid for path, uid in paths.items() if not self._kernel.namespace_exists(path)}
        missing = self._make_namespaces({path: pods[uid] for path, uid in paths.items()})
        self._fresh |= unmade - missing.keys()
        return missing

    def lose(self, uid: str) -> None:
        """Note that a pod's namespace is gone or was replaced. May be called during a round."""
        self._lost.add(uid)
        self._standing.pop(uid, None)

    def remove(self, node: str, uids: Iterable[str]) -> None:
        """Remove sandboxes: namespace, then address. What is gone already causes no error.

        With a namespace its veth goes, and the other end on the node with it, many at once and in the background;
        deleting the links one by one costs the kernel 15 ms each. Should a process still hold the namespace, the
        node's next difference removes the port.
        """
        reservations = self._reservations(node)
        leaving = {uid: found for uid in uids if (found := reservations.pods.get(uid))}
        if not leaving:
            return
        release(self._kernel, self._state, [namespace_path(found.namespace) for found in leaving.values()])
        self._forget_neighbours(node, leaving.values())
        for uid, found in leaving.items():
            self._standing.pop(uid, None)
            self._fresh.discard(uid)
            for key in (uid, namespace_path(found.namespace)):
                self._failed.forget(key)
            del reservations.pods[uid]
        self._save(node)

    def _forget_neighbours(self, node: str, leaving: Iterable[Reservation]) -> None:
        """Delete a node's entries for pods that leave: a packet for such a pod is answered, not sent to a port that is gone."""
        path = self._node_path(node)
        if self._kernel.namespace_exists(path):
            with self._failed.contain(f"neighbors of {node}"):
                entries = [Operation(Verb.DELETE, node_neighbour(found.address)) for found in leaving]
                self._kernel.perform(path, entries)

    def leftovers(self, live: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Return, per node, the sandboxes on record whose pods are gone."""
        alive = set(live)
        nodes = (
            [path.name for path in self._state.ipam.iterdir() if not path.name.startswith(".")]
            if self._state.ipam.is_dir()
            else []
        )
        found: dict[str, tuple[str, ...]] = {}
        for node in sorted(nodes):
            with self._failed.contain(f"addresses of {node}"):  # a damaged record is reported, and concerns that node
                found[node] = tuple(uid for uid in self._reservations(node).pods if uid not in alive)
        return found

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

    def _planned(self, wanted: NodePods) -> tuple[tuple[Sandbox, ...], Mapping[str, str]]:
        """Reserve addresses and return the sandboxes of a node, and why pods have none: all of them for a damaged record."""
        held = {pod.metadata.uid: words for pod in wanted.pods if (words := self._held(pod))}
        sandboxes: tuple[Sandbox, ...] = ()
        with self._failed.contain(f"addresses of {wanted.node}") as attempt:
            held.update(self._reserve(wanted))
            sandboxes = tuple(sandbox for sandbox in self._plan(wanted) if sandbox.uid not in held)
        if attempt.error is not None:
            return (), {pod.metadata.uid: describe(attempt.error) for pod in wanted.pods}
        return sandboxes, held

    def _held(self, pod: Pod) -> str:
        """Return why a pod is left out of this round: it was refused, and its back-off is not over; "" when it takes part."""
        uid = pod.metadata.uid
        failure = self._failed.failures.get(uid)
        return failure.message if failure and not self._failed.is_due(uid, pod.metadata.resource_version) else ""

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
                mtu=self._mtu,
            )
            for pod in wanted.pods
            if pod.metadata.uid in reserved
        )

    def _program(self, wanted: NodePods, sandboxes: Sequence[Sandbox], *, resync: bool) -> dict[str, str]:
        """Program a node and these pods of it; returns what was refused for which."""
        known, unseen = self._observed(wanted, sandboxes, resync=resync)
        seen = [sandbox for sandbox in sandboxes if sandbox.uid not in unseen]
        empty = {s.path: NamespaceState() for s in seen if s.uid in self._fresh}
        changed, refused = self._program_ports(wanted, seen, {**known, **empty})
        accepted = [sandbox for sandbox in seen if sandbox.uid not in refused]
        said = {s.uid: self._program_pod(s, None if changed else known.get(s.path), resync=resync) for s in accepted}
        return {**unseen, **refused, **{uid: words for uid, words in said.items() if words}}

    def _observed(
        self, wanted: NodePods, sandboxes: Sequence[Sandbox], *, resync: bool
    ) -> tuple[dict[str, NamespaceState], dict[str, str]]:
        """Look into the namespaces of pods that may not be what they should; returns states by path, and failures by uid."""
        unlike = resync or wanted.node not in self._bridged
        known: dict[str, NamespaceState] = {}
        failed: dict[str, str] = {}
        for sandbox in sandboxes:
            if sandbox.uid in self._fresh or not (unlike or sandbox.uid not in self._standing):
                continue
            with self._failed.contain(sandbox.path) as attempt:
                known[sandbox.path] = _observe(self._kernel, sandbox.path, pod_state(sandbox))
            if attempt.error is not None:
                self._standing.pop(sandbox.uid, None)
                failed[sandbox.uid] = describe(attempt.error)
        return known, failed

    def _program_ports(
        self, wanted: NodePods, sandboxes: Sequence[Sandbox], pods: Mapping[str, NamespaceState]
    ) -> tuple[bool, dict[str, str]]:
        """Give a node the ports of its pods, all at once; when that is refused, one pod after the other.

        Returns whether anything changed, and why pods have no port.
        """
        with Contained() as together:
            changed = self._program_node(wanted, sandboxes, pods)
        if together.error is None:
            for sandbox in sandboxes:
                self._failed.forget(sandbox.uid)
            return changed, {}
        accepted = [sandbox for sandbox in sandboxes if sandbox.uid in self._standing]
        with self._failed.contain(f"node {wanted.node}") as own:
            self._program_node(wanted, accepted, pods)
        if own.error is not None:  # it is the node's own part, or a pod that stood
            return True, {sandbox.uid: describe(own.error) for sandbox in sandboxes}
        versions = {pod.metadata.uid: pod.metadata.resource_version for pod in wanted.pods}
        refused: dict[str, str] = {}
        for sandbox in sandboxes:
            if sandbox.uid in self._standing:
                continue
            with self._failed.contain(sandbox.uid, versions.get(sandbox.uid, "")) as alone:
                self._program_node(wanted, [*accepted, sandbox], pods)
                accepted.append(sandbox)
            if alone.error is not None:
                refused[sandbox.uid] = describe(alone.error)
        return True, refused

    def _program_node(self, wanted: NodePods, sandboxes: Sequence[Sandbox], pods: Mapping[str, NamespaceState]) -> bool:
        """Program the node's side; return whether that changed anything. `pods` are the namespaces of pods as they were found."""
        path = self._node_path(wanted.node)
        namespace = inode(path)  # before: a replacement in the meantime is seen
        bridge = cni_bridge(self._lab, wanted.subnet, mtu=self._mtu)
        desired = NamespaceState(
            links=(*bridge.links, *(node_link(sandbox) for sandbox in sandboxes)),
            addresses=bridge.addresses,
            neighbours=tuple(node_neighbour(sandbox.address) for sandbox in sandboxes),
            sysctls=bridge.sysctls,
        )
        observed = _observe(self._kernel, path, desired)
        broken = severed(path, desired, {**pods, path: observed})
        for where, operations in broken.items():
            self._kernel.perform(where, operations)
        if broken:
            log.warning("node=%s cables=severed count=%d remedy=%r", wanted.node, sum(map(len, broken.values())), "recreated")
            observed = _observe(self._kernel, path, desired)
        operations = diff(desired, observed, _owned_on_node)
        self._kernel.perform(path, operations)
        self._bridged[wanted.node] = namespace
        return bool(broken or operations)

    def _node_path(self, node: str) -> str:
        return namespace_path(host_namespace(self._lab, node))

    def _program_pod(self, sandbox: Sandbox, known: NamespaceState | None, *, resync: bool) -> str:
        """Program the pod's own side, of which `known` may be the state; returns what the kernel refused."""
        if sandbox.uid in self._standing and not resync:
            return ""
        home, desired = inode(sandbox.path), pod_state(sandbox)
        with self._failed.contain(sandbox.path) as attempt:
            observed = known or _observe(self._kernel, sandbox.path, desired)
            self._kernel.perform(sandbox.path, diff(desired, observed, owns))
        if attempt.error is not None:
            self._standing.pop(sandbox.uid, None)
            return describe(attempt.error)
        self._standing[sandbox.uid] = home
        if sandbox.uid in self._lost:  # what was programmed is not the pod's any more
            self._standing.pop(sandbox.uid, None)
        return ""


def _observe(kernel: Kernel, path: str, desired: NamespaceState) -> NamespaceState:
    return kernel.observe(path, sysctls=tuple(desired.sysctls))


def _known_address(pod: Pod, subnet: str, in_use: Collection[str]) -> str | None:
    """Return the address that a pod's status has, unless it is none of the node's or another pod has it."""
    found = pod.status.pod_ip
    return found if found and found not in in_use and is_pod_address(subnet, found) else None


def _owned_on_node(name: str) -> bool:
    """The kubelet is responsible for the bridge and its ports; eth0 and flannel.1 are others'."""
    return name == CNI_BRIDGE or name.startswith(POD_LINK_PREFIX)
