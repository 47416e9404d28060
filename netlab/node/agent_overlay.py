"""Keeps a node's end of the overlay: announces its lease, programs the devices and routes of the backend (`netlab.overlay`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from netlab.api.cluster import Node
from netlab.api.lab import Lab
from netlab.errors import InvalidValueError
from netlab.kernel.door import Kernel
from netlab.kernel.states import StateKeeper
from netlab.overlay.backends import backend
from netlab.overlay.leases import Problem

log = logging.getLogger("netlab.node")


def announcement(lab: Lab, node: Node) -> dict[str, str]:
    """Return the annotations the node still has to announce; empty when they are there, or when it has no podCIDR yet."""
    if not node.spec.pod_cidr or not node.internal_ip:
        return {}
    present = node.metadata.annotations
    return {key: value for key, value in backend(lab).announcement(node).items() if present.get(key) != value}


class OverlayKeeper:
    """The overlay of one node's namespace."""

    def __init__(self, kernel: Kernel, path: str, lab: Lab, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend(lab)
        self._node = node
        self._problems: tuple[Problem, ...] = ()
        self._state = StateKeeper(kernel, path, "overlay", clock)

    @property
    def repaired(self) -> bool:
        """Tell whether the last `keep` undid a change by somebody else."""
        return self._state.repaired

    @property
    def refused(self) -> Mapping[str, Exception]:
        """The nodes that are left out though they announce a lease: `node name` -> why."""
        wrong = {f"node {p.node}": InvalidValueError(f"{p.reason.rstrip('.')}.") for p in self._problems if p.wrong}
        return wrong | {f"node {name}": error for name, error in self._state.refused.items()}

    def keep(self, nodes: Iterable[Node], *, resync: bool = False) -> int:
        """Program the overlay for the nodes known; return how many changes that took.

        Raises KernelError when the device itself is refused, InvalidValueError when the own Node object cannot be used.
        """
        nodes = tuple(nodes)
        own = next((node for node in nodes if node.metadata.name == self._node), None)
        if own is None or not own.spec.pod_cidr:
            return 0
        wanted = self._backend.overlay(own, nodes)
        self._tell(wanted.ignored)
        return self._state.keep(wanted.state, resync=resync)

    def _tell(self, problems: tuple[Problem, ...]) -> None:
        """Log who is not in the overlay yet, once per change; who is left out is told by whoever reads `refused`."""
        if problems != self._problems:
            for problem in problems:
                if not problem.wrong:
                    log.info("overlay=ignored node=%s reason=%r", problem.node, problem.reason)
            self._problems = problems
