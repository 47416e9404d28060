"""Runtime `netns`: every host is a network namespace, joined by the fabric's bridges.

Level-triggered: `converge` looks at what is there and does the difference, so that it creates a lab, finishes one that a
crash left half-made, repairs one that somebody broke by hand, and does nothing to one that is right.
A namespace is recorded before it is made and struck off after it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from netlab.api.lab import HostStatus, Lab
from netlab.dataplane.diff import diff
from netlab.dataplane.fabric import fabric_state, host_state, owns_in_fabric, owns_in_host
from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.dataplane.state import NamespaceState
from netlab.ipam import AddressPlan
from netlab.kernel.door import Kernel
from netlab.runtime.claims import record, refuse_foreign
from netlab.runtime.hosts import fabric_hosts, fabric_path, path
from netlab.runtime.statedir import OWN_NETNS_DIRECTORY, StateDirectory


class NetnsRuntime:
    """Makes and removes the hosts of one lab."""

    def __init__(self, kernel: Kernel, state: StateDirectory) -> None:
        self._kernel = kernel
        self._state = state

    def converge(self, lab: Lab, hosts: Sequence[HostStatus]) -> int:
        """Make fabric, edge and hosts what they should be; return how many changes that took."""
        name, addresses = lab.metadata.name, AddressPlan.of(lab)
        members = fabric_hosts(lab, hosts)
        paths = [fabric_path(name), *(member.path for member in members)]
        self.create(paths)
        fabric = fabric_state(name, f"{addresses.api_server}/{addresses.node_prefix}", members)
        changes = self._converge_one(paths[0], fabric, owns_in_fabric)
        for member in members:
            changes += self._converge_one(member.path, host_state(name, member), owns_in_host)
        return changes

    def _converge_one(self, where: str, desired: NamespaceState, owns: Callable[[str], bool]) -> int:
        operations = diff(desired, self._kernel.observe(where, sysctls=tuple(desired.sysctls)), owns)
        if operations:
            self._kernel.perform(where, operations)
        return len(operations)

    def create(self, paths: Iterable[str]) -> None:
        """Record and make namespaces that are not there. Raises LabError for one that somebody else made."""
        wanted = list(paths)
        missing = [where for where in wanted if not self._kernel.namespace_exists(where)]
        refuse_foreign(self._state, set(wanted) - set(missing))
        if missing and not Path(NETNS_DIRECTORY).exists():
            (self._state.root.parent / OWN_NETNS_DIRECTORY).touch()
        record(self._state, missing)
        self._kernel.create_namespaces(missing)

    def remove(self, lab: str, hosts: Iterable[HostStatus]) -> None:
        """Remove hosts that are not wanted any more, and strike them off."""
        paths = [path(lab, host.name) for host in hosts]
        self._kernel.delete_namespaces(paths)
        for where in paths:
            (self._state.namespaces / Path(where).name).unlink(missing_ok=True)
