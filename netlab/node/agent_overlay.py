"""Keeps a node's end of the overlay: announces its lease, programs flannel.1 for the others (theory: `dataplane.vxlan`).

Everything goes in one batch. When the kernel refuses it, the device is brought up first and then each lease by itself: that
of which an entry is refused is rolled back (route, FDB, ARP) and tried again after a while; the others stay. A node's own lease
is made from the lab and its Node object, not from its annotations: others read these, and somebody may have changed them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from netlab.api import values
from netlab.api.cluster import Node
from netlab.api.lab import Lab
from netlab.containment import Contained, Containment, describe
from netlab.dataplane.diff import diff
from netlab.dataplane.state import NamespaceState, Operation, Verb
from netlab.dataplane.vxlan import (
    Lease,
    Overlay,
    Problem,
    device_name,
    lease_annotations,
    overlay,
    owns,
    parse_lease,
    vtep_mac,
)
from netlab.errors import InvalidValueError, KernelError
from netlab.kernel.door import Kernel

log = logging.getLogger("netlab.node")


def announcement(lab: Lab, node: Node) -> dict[str, str]:
    """Return the annotations the node still has to announce; empty when they are there, or when it has no podCIDR yet."""
    if not node.spec.pod_cidr or not node.internal_ip:
        return {}
    own, present = _own_lease(lab, node), node.metadata.annotations
    wanted = lease_annotations(own.public_ip, own.vtep_mac, own.vni)
    return {key: value for key, value in wanted.items() if present.get(key) != value}


def _own_lease(lab: Lab, node: Node) -> Lease:
    """Return a node's own lease. Raises InvalidValueError when its Node object holds what cannot be."""
    name = node.metadata.name
    mac = vtep_mac(lab.metadata.name, name, node.metadata.annotations)
    return Lease(name, values.cidr(node.spec.pod_cidr, "spec.podCIDR"), node.address, mac, lab.spec.networking.backend.vni)


class OverlayKeeper:
    """The overlay of one node's namespace."""

    def __init__(self, kernel: Kernel, path: str, lab: Lab, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._kernel = kernel
        self._path = path
        self._lab = lab
        self._node = node
        self._problems: tuple[Problem, ...] = ()
        self._failing = Containment(log, "lease", clock)  # leases that the kernel refused, by node
        self._kept: NamespaceState | None = None  # what the kernel was brought to last
        self.repaired = False  # the last `keep` found that somebody else had changed something

    @property
    def refused(self) -> Mapping[str, Exception]:
        """The nodes that are left out though they announce a lease: `node name` -> why."""
        wrong = {f"node {p.node}": InvalidValueError(f"{p.reason.rstrip('.')}.") for p in self._problems if p.wrong}
        return wrong | {f"node {name}": failure.error for name, failure in self._failing.failures.items()}

    def keep(self, nodes: Iterable[Node], *, resync: bool = False) -> int:
        """Program the overlay for the nodes known; return how many changes that took.

        The kernel is only looked at when something else is wanted than before, or at a resync. Raises KernelError when the
        device itself is refused, InvalidValueError when the own Node object cannot be used.
        """
        known = {node.metadata.name: node for node in nodes}
        own = known.get(self._node)
        if own is None or not own.spec.pod_cidr:
            return 0
        self._failing.keep(known)
        remotes = [parse_lease(name, n.spec.pod_cidr, n.metadata.annotations) for name, n in known.items()]
        wanted = self._wanted(_own_lease(self._lab, own), [remote for remote in remotes if self._is_due(remote)])
        self._tell(wanted.ignored)
        same = wanted.state == self._kept
        self.repaired = False
        if same and not resync:
            return 0
        self._kept = None
        operations = self._difference(wanted.state)
        try:
            self._kernel.perform(self._path, operations)
            self._note_success(wanted)
            self._kept = wanted.state
        except KernelError:
            self._kept = self._one_by_one(wanted)
        self.repaired = same and bool(operations)
        if self.repaired:
            log.warning("overlay=repaired changes=%d", len(operations))
        return len(operations)

    def _wanted(self, own: Lease, remotes: Sequence[Lease | Problem]) -> Overlay:
        networking = self._lab.spec.networking
        return overlay(self._lab.metadata.name, own, remotes, port=networking.backend.port, pods=networking.pod_subnet)

    def _is_due(self, remote: Lease | Problem) -> bool:
        return self._failing.is_due(remote.node, str(remote))

    def _difference(self, wanted: NamespaceState) -> tuple[Operation, ...]:
        vni = self._lab.spec.networking.backend.vni
        return diff(wanted, self._kernel.observe(self._path), lambda name: owns(name, vni))

    def _one_by_one(self, wanted: Overlay) -> NamespaceState:
        """Bring up the device, then each lease; return what was wanted without those that the kernel refused."""
        device = device_name(self._lab.spec.networking.backend.vni)
        entries = {lease.node: lease.entries(device) for lease in wanted.leases}
        of_leases = {entry for own in entries.values() for entry in own}
        operations = self._difference(wanted.state)
        self._kernel.perform(self._path, [operation for operation in operations if operation.item not in of_leases])
        for lease in wanted.leases:
            steps = [operation for operation in operations if operation.item in entries[lease.node]]
            with self._failing.contain(lease.node, str(lease)) as attempt:
                self._kernel.perform(self._path, steps)
            if attempt.error:
                self._roll_back(lease, device)
        done = [entries[lease.node] for lease in wanted.leases if lease.node not in self._failing.failures]
        return replace(
            wanted.state,
            neighbours=tuple(neighbour for neighbour, _, _ in done),
            forwarding=tuple(forwarding for _, forwarding, _ in done),
            routes=tuple(route for _, _, route in done),
        )

    def _roll_back(self, lease: Lease, device: str) -> None:
        """Remove the entries of a lease, in flannel's order (semantics 2.18); one that is not there is no error."""
        neighbour, forwarding, route = lease.entries(device)
        with Contained() as attempt:
            self._kernel.perform(self._path, [Operation(Verb.DELETE, item) for item in (route, forwarding, neighbour)])
        if attempt.error:
            log.warning("lease=%s rollback=failed error=%r", lease.node, describe(attempt.error))

    def _note_success(self, wanted: Overlay) -> None:
        """Forget the failures of leases that the kernel has taken now."""
        for lease in wanted.leases:
            with self._failing.contain(lease.node, str(lease)):
                pass

    def _tell(self, problems: tuple[Problem, ...]) -> None:
        """Log who is not in the overlay yet, once per change; who is left out is told by whoever reads `refused`."""
        if problems != self._problems:
            for problem in problems:
                if not problem.wrong:
                    log.info("overlay=ignored node=%s reason=%r", problem.node, problem.reason)
            self._problems = problems
