"""Keeps a node's end of the overlay: announces its lease, programs flannel.1 for the others (theory: `dataplane.vxlan`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from netlab.api.cluster import Node
from netlab.api.lab import Lab
from netlab.dataplane.diff import diff
from netlab.dataplane.state import NamespaceState
from netlab.dataplane.vxlan import Lease, Problem, lease_annotations, overlay, owns, parse_lease, vtep_mac
from netlab.kernel.door import Kernel

log = logging.getLogger("netlab.node")


def announcement(lab: Lab, node: Node) -> dict[str, str]:
    """Return the annotations the node still has to announce; empty when they are there, or when it has no podCIDR yet."""
    if not node.spec.pod_cidr or not node.internal_ip:
        return {}
    present = node.metadata.annotations
    mac = vtep_mac(lab.metadata.name, node.metadata.name, present)
    wanted = lease_annotations(node.internal_ip, mac, lab.spec.networking.backend.vni)
    return {key: value for key, value in wanted.items() if present.get(key) != value}


class OverlayKeeper:
    """The overlay of one node's namespace."""

    def __init__(self, kernel: Kernel, path: str, lab: Lab, node: str) -> None:
        self._kernel = kernel
        self._path = path
        self._lab = lab
        self._node = node
        self._ignored: tuple[Problem, ...] = ()
        self._kept: NamespaceState | None = None  # what the kernel was brought to last

    def keep(self, nodes: Iterable[Node], *, resync: bool = False) -> int:
        """Program the overlay for the nodes known; return how many changes that took. Raises KernelError.

        The kernel is only looked at when something else is wanted than before, or at a resync.
        """
        leases = [parse_lease(n.metadata.name, n.spec.pod_cidr, n.metadata.annotations) for n in nodes]
        own = next((lease for lease in leases if lease.node == self._node), None)
        if not isinstance(own, Lease):
            return 0
        backend = self._lab.spec.networking.backend
        wanted = overlay(self._lab.metadata.name, own, leases, port=backend.port)
        self._tell(wanted.ignored)
        if wanted.state == self._kept and not resync:
            return 0
        self._kept = None
        operations = diff(wanted.state, self._kernel.observe(self._path), lambda name: owns(name, backend.vni))
        if operations:
            self._kernel.perform(self._path, operations)
        if resync and operations:
            log.warning("overlay=repaired changes=%d", len(operations))
        self._kept = wanted.state
        return len(operations)

    def _tell(self, ignored: tuple[Problem, ...]) -> None:
        """Log who is left out of the overlay, once per change."""
        if ignored != self._ignored:
            for problem in ignored:
                log.info("overlay=ignored node=%s reason=%r", problem.node, problem.reason)
            self._ignored = ignored
