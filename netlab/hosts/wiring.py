"""Cables, addresses and routes of a lab's hosts, in existing namespaces of every runtime.

Level-triggered: it reads the present state and applies the difference. So it wires a new lab,
completes one that a crash left incomplete, repairs one that was broken by hand, and does not change
a correct one. Cables come first, because they have an end in two namespaces (`dataplane.cables`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from netlab.api.lab import Lab
from netlab.dataplane.cables import severed
from netlab.dataplane.diff import diff
from netlab.dataplane.fabric import Host, fabric_state, host_state, owns_in_fabric, owns_in_host
from netlab.dataplane.state import NamespaceState, Operation
from netlab.family import Family
from netlab.hosts.hosts import fabric_path
from netlab.ipam import AddressPlan
from netlab.kernel.door import Kernel
from netlab.overlay.backends import backend

log = logging.getLogger("netlab.hosts")


def wire(kernel: Kernel, lab: Lab, members: Sequence[Host], *, uplink: str = "") -> int:
    """Wire fabric and hosts; return the number of changes. `uplink`: see `fabric_state`."""
    name, addresses = lab.metadata.name, AddressPlan.of(lab)
    near = fabric_path(name)
    fabric = fabric_state(name, f"{addresses.api_server}/{addresses.node_prefix}", members, uplink=uplink)
    devices = backend(name, lab.spec.networking, Family.IPV4).devices
    hosts = {member.path: host_state(name, member, devices) for member in members}
    observed = {path: _observe(kernel, path, state) for path, state in {near: fabric, **hosts}.items()}
    changes = _remove_severed(kernel, near, fabric, observed)
    changes += _perform(kernel, near, diff(fabric, observed.pop(near), owns_in_fabric))
    for path, state in hosts.items():
        now = _observe(kernel, path, state) if changes else observed[path]
        changes += _perform(kernel, path, diff(state, now, owns_in_host))
    return changes


def _remove_severed(kernel: Kernel, near: str, fabric: NamespaceState, observed: dict[str, NamespaceState]) -> int:
    """Remove the remaining ends of broken cables, and read the state of those namespaces again."""
    broken = severed(near, fabric, observed)
    for path, operations in broken.items():
        _perform(kernel, path, operations)
    if broken:
        log.warning("cables=severed namespaces=%s remedy=%r", ",".join(broken), "recreated")
        observed[near] = _observe(kernel, near, fabric)
    return sum(map(len, broken.values()))


def _observe(kernel: Kernel, path: str, desired: NamespaceState) -> NamespaceState:
    return kernel.observe(path, sysctls=tuple(desired.sysctls))


def _perform(kernel: Kernel, path: str, operations: Sequence[Operation]) -> int:
    if operations:
        kernel.perform(path, operations)
    return len(operations)
