"""Cables, addresses and routes of a lab's hosts, in namespaces that are there: the same for every runtime.

Level-triggered: what is there is looked at, and the difference is done. So it wires a new lab, finishes one that a crash left
half-made, repairs one that somebody broke by hand, and does nothing to one that is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netlab.api.lab import Lab
from netlab.dataplane.diff import diff
from netlab.dataplane.fabric import Host, fabric_state, host_state, owns_in_fabric, owns_in_host
from netlab.dataplane.state import NamespaceState
from netlab.ipam import AddressPlan
from netlab.kernel.door import Kernel
from netlab.runtime.hosts import fabric_path


def wire(kernel: Kernel, lab: Lab, members: Sequence[Host], *, uplink: str = "") -> int:
    """Make fabric and hosts what they should be; return how many changes that took. `uplink`: see `fabric_state`."""
    name, addresses = lab.metadata.name, AddressPlan.of(lab)
    fabric = fabric_state(name, f"{addresses.api_server}/{addresses.node_prefix}", members, uplink=uplink)
    changes = _converge(kernel, fabric_path(name), fabric, owns_in_fabric)
    return changes + sum(_converge(kernel, member.path, host_state(name, member), owns_in_host) for member in members)


def _converge(kernel: Kernel, where: str, desired: NamespaceState, owns: Callable[[str], bool]) -> int:
    operations = diff(desired, kernel.observe(where, sysctls=tuple(desired.sysctls)), owns)
    if operations:
        kernel.perform(where, operations)
    return len(operations)
