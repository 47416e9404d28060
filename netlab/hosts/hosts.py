"""Which hosts a lab has, and their addresses: decided once per host and kept while it exists. Pure.

A host's index determines its address (`netlab.ipam`). A new lab counts in the order of the file, so
the same file always gives the same addresses. A host that is added to a running lab takes the
lowest free index, and the other hosts keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from netlab.api.lab import HostStatus, Lab
from netlab.dataplane.fabric import Host, Role
from netlab.dataplane.names import EDGE, FABRIC, host_namespace, namespace_path
from netlab.ipam import AddressPlan

NODE, CLIENT = Role.NODE.value, Role.CLIENT.value


class Runtime(Protocol):
    """Creates and removes the hosts of one lab. All calls block."""

    def converge(self, lab: Lab, hosts: Sequence[HostStatus]) -> int:
        """Create or repair fabric, edge and hosts; return the number of changes."""

    def remove(self, lab: str, hosts: Iterable[HostStatus]) -> None:
        """Remove hosts that are no longer wanted, and their records."""

    def stands(self, host: str) -> bool:
        """Return whether a host exists: its namespace and, if it has one, its container.

        Asks no engine.
        """

    def watch(self, lost: Callable[[], None]) -> Callable[[], None]:
        """Call `lost`, from any thread, when a host may have changed.

        Returns a function that stops this.
        """


@dataclass(frozen=True)
class HostPlan:
    """The hosts that a lab should have, and those to remove."""

    wanted: tuple[HostStatus, ...]
    removed: tuple[HostStatus, ...]

    @property
    def nodes(self) -> tuple[HostStatus, ...]:
        return tuple(host for host in self.wanted if host.is_node)


def plan_hosts(lab: Lab, previous: Sequence[HostStatus]) -> HostPlan:
    """Return the hosts of the lab with their indices and addresses, given the existing ones."""
    addresses = AddressPlan.of(lab)
    nodes = _indexed([node.name for node in lab.spec.nodes], NODE, previous)
    clients = _indexed([client.name for client in lab.spec.clients], CLIENT, previous)
    wanted = (
        *(HostStatus(name=name, role=NODE, index=index, address=addresses.node(index)) for name, index in nodes),
        *(HostStatus(name=name, role=CLIENT, index=index, address=addresses.client(index)) for name, index in clients),
    )
    kept = {(host.name, host.role) for host in wanted}
    return HostPlan(wanted, tuple(host for host in previous if (host.name, host.role) not in kept))


def _indexed(names: Iterable[str], role: str, previous: Sequence[HostStatus]) -> list[tuple[str, int]]:
    """Return each name with its index, or the lowest free one; hosts to remove keep theirs."""
    known = {host.name: host.index for host in previous if host.role == role}
    taken = set(known.values())
    result = []
    for name in names:
        if name not in known:
            known[name] = next(index for index in range(1, len(taken) + 2) if index not in taken)
            taken.add(known[name])
        result.append((name, known[name]))
    return result


def fabric_hosts(lab: Lab, hosts: Iterable[HostStatus]) -> tuple[Host, ...]:
    """Return the hosts on the fabric: the edge first, then nodes and clients with their cables."""
    addresses, name = AddressPlan.of(lab), lab.metadata.name
    edge = Host(
        EDGE,
        Role.EDGE,
        path(name, EDGE),
        underlay=f"{addresses.edge_underlay}/{addresses.node_prefix}",
        outside=f"{addresses.edge_outside}/{addresses.outside_prefix}",
    )
    return (edge, *(_fabric_host(name, addresses, host) for host in hosts))


def _fabric_host(lab: str, addresses: AddressPlan, host: HostStatus) -> Host:
    if host.is_node:
        underlay = f"{host.address}/{addresses.node_prefix}"
        return Host(host.name, Role.NODE, path(lab, host.name), underlay=underlay, gateway=addresses.edge_underlay)
    outside = f"{host.address}/{addresses.outside_prefix}"
    return Host(host.name, Role.CLIENT, path(lab, host.name), outside=outside, gateway=addresses.edge_outside)


def path(lab: str, host: str) -> str:
    """Return the path of a host's network namespace."""
    return namespace_path(host_namespace(lab, host))


def fabric_path(lab: str) -> str:
    """Return the path of the fabric's network namespace."""
    return path(lab, FABRIC)
