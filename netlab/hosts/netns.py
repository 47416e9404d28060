"""Runtime `netns`: every host is a network namespace, joined by the fabric's bridges.

A namespace is recorded before it is created, and its record is removed after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from netlab.api.lab import HostStatus, Lab
from netlab.hosts.claims import record, refuse_foreign, release
from netlab.hosts.hosts import fabric_hosts, fabric_path, path
from netlab.hosts.wiring import wire
from netlab.kernel.door import Kernel, Occupant
from netlab.state import StateDirectory


class NetnsRuntime:
    """Creates and removes the hosts of one lab."""

    def __init__(self, kernel: Kernel, state: StateDirectory) -> None:
        self._kernel = kernel
        self._state = state

    def converge(self, lab: Lab, hosts: Sequence[HostStatus]) -> int:
        """Create or repair fabric, edge and hosts; return the number of changes."""
        members = fabric_hosts(lab, hosts)
        self.create([fabric_path(lab.metadata.name), *(member.path for member in members)])
        return wire(self._kernel, lab, members)

    def create(self, paths: Iterable[str]) -> None:
        """Record and create missing namespaces. Raises LabError for a foreign one."""
        occupants = {where: self._kernel.occupant(where) for where in paths}
        refuse_foreign(self._state, occupants)
        missing = [where for where, found in occupants.items() if found is not Occupant.NAMESPACE]
        record(self._state, missing)
        self._kernel.create_namespaces(missing)

    def remove(self, lab: str, hosts: Iterable[HostStatus]) -> None:
        """Remove hosts that are no longer wanted, and their records."""
        release(self._kernel, self._state, [path(lab, host.name) for host in hosts])

    def stands(self, host: str) -> bool:
        """Return whether a host's namespace exists."""
        return self._kernel.namespace_exists(path(self._state.lab, host))

    def watch(self, lost: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002 -- a namespace does not go by itself
        """Return a function that does nothing: the kernel reports no events of namespaces."""
        return lambda: None
