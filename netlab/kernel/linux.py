"""The real kernel: `door.Kernel` put together from the modules beside this one.

How `perform` works: runs of netlink operations become batches; a setting (sysctl), or an operation that needs the index
of a link that the waiting batch makes, first has that batch sent. So the pods of a node cost two batches in all, not two
round trips each.

Deleting what is not there succeeds: the wanted state holds. Everything else the kernel refuses is a KernelError that
prints the operation as the command that would have done the same.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from netlab.dataplane.diff import LOOPBACK
from netlab.dataplane.flows import FlowFilter
from netlab.dataplane.state import Link, NamespaceState, Operation, Sysctl, Verb
from netlab.errors import KernelError
from netlab.kernel import conntrack, namespaces, neighbours, nft, observed, rtnetlink, sysctl
from netlab.kernel.codecs import NETLINK_ROUTE, Message
from netlab.kernel.door import NeighbourTable, Occupant
from netlab.kernel.monitor import LinuxMonitor
from netlab.kernel.netlink import BATCH, Netlink
from netlab.kernel.refusal import ABSENT, refused
from netlab.netfilter.listing import Listing


class LinuxKernel:
    """The kernel of this machine. Stateless; one may serve all threads."""

    def create_namespaces(self, paths: Sequence[str]) -> None:
        """Make named network namespaces (with `lo` up). One that exists is left as it is."""
        namespaces.create(paths)

    def delete_namespaces(self, paths: Sequence[str]) -> None:
        """Remove named namespaces. One that does not exist is not an error."""
        namespaces.delete(paths)

    def namespace_exists(self, path: str) -> bool:
        """Return whether `path` is a live network namespace."""
        return namespaces.exists(path)

    def occupant(self, path: str) -> Occupant:
        """Return what is found at `path`, without following a symbolic link."""
        return namespaces.occupant(path)

    def bind_namespaces(self, sources: Mapping[str, str]) -> tuple[str, ...]:
        """Give names (the keys) to namespaces that another process made; return the names given now."""
        stale = [path for path, source in sources.items() if not namespaces.is_same(path, source)]
        for path in stale:
            if namespaces.exists(path):
                links = (link for link in self.observe(path).links if link.name != LOOPBACK)
                self.perform(path, [Operation(Verb.DELETE, link) for link in links])
            namespaces.delete([path])
            namespaces.bind(sources[path], path)
        return tuple(stale)

    def inside(self, path: str) -> AbstractContextManager[None]:
        """Enter the namespace in this thread for a `with` block."""
        return namespaces.inside(path)

    def scratch(self) -> AbstractContextManager[str]:
        """Make a new, nameless namespace for a `with` block of this thread."""
        return namespaces.scratch()

    def observe(self, path: str, *, sysctls: Sequence[str] = (), policy: bool = False) -> NamespaceState:
        """Return the state of a namespace; of sysctls only those named, of policy routing only where asked."""
        with namespaces.inside(path), Netlink(NETLINK_ROUTE) as netlink:
            return replace(observed.read(netlink, policy=policy), sysctls=sysctl.read(sysctls))

    def monitor(self, path: str) -> LinuxMonitor:
        """Return a receiver of the changes of a namespace from now on, one's own included."""
        return LinuxMonitor(path)

    def perform(self, path: str, operations: Sequence[Operation]) -> None:
        """Do the operations in order; raises KernelError naming the first that was refused."""
        if not operations:
            return
        with namespaces.inside(path), Netlink(NETLINK_ROUTE) as netlink:
            batch = _Batch(path, netlink)
            for operation in operations:
                batch.add(operation)
            batch.send()

    def nft(self, path: str, script: str) -> None:
        """Run one nft transaction: all of it or nothing."""
        nft.run(path, script)

    def nft_list(self, path: str, family: str, table: str) -> Listing:
        """Return a table as it is, `exists=False` when there is none."""
        return nft.listing(path, family, table)

    def nft_canonical(self, path: str, contents: str, family: str, table: str) -> Listing:
        """Return how the namespace would list a table with these contents, by a dormant draft of that name."""
        return nft.canonical(path, contents, family, table)

    def nft_generation(self, path: str) -> int:
        """Return the ruleset's generation, which grows with every commit of any process in that namespace."""
        return nft.generation(path)

    def delete_flows(self, path: str, filters: Sequence[FlowFilter]) -> int:
        """Delete the conntrack entries that match any filter and return how many."""
        return conntrack.delete(path, filters)

    def tracked_ports(self, path: str, protocol: str) -> frozenset[int]:
        """Return the source ports of the flows of a protocol that conntrack remembers."""
        return conntrack.source_ports(path, protocol)

    def neighbour_table(self) -> NeighbourTable:
        """Return the limit of the machine's neighbor table and how often it has overflowed."""
        return neighbours.table()

    def forget_neighbours(self, path: str, addresses: Collection[str]) -> int:
        """Delete the learned neighbor entries of these addresses and return how many."""
        with namespaces.inside(path), Netlink(NETLINK_ROUTE) as netlink:
            return neighbours.forget(netlink, addresses)


class _Batch:
    """Operations waiting to be sent to one namespace, in which the calling thread is."""

    def __init__(self, path: str, netlink: Netlink) -> None:
        self._path = path
        self._netlink = netlink
        self._waiting: list[Operation] = []
        self._makes: set[str] = set()  # links whose index is known only after sending
        self._indices: dict[str, int] = {}

    def add(self, operation: Operation) -> None:
        item = operation.item
        if isinstance(item, Sysctl) or not self._makes.isdisjoint(rtnetlink.device_names(operation)):
            self.send()
        if isinstance(item, Sysctl):
            self._write(operation, item)
            return
        self._waiting.append(operation)
        if isinstance(item, Link):
            self._makes.add(item.name)
            self._indices.pop(item.name, None)

    def send(self) -> None:
        """Send what waits, and raise for the first operation that was refused."""
        waiting, self._waiting = self._waiting, []
        self._makes.clear()
        with ExitStack() as descriptors:
            for start in range(0, len(waiting), BATCH):
                self._send_part(waiting[start : start + BATCH], descriptors)
                descriptors.close()

    def _send_part(self, operations: Sequence[Operation], descriptors: ExitStack) -> None:
        open_namespace = _opener(descriptors)
        requests: list[Message] = []
        owners: list[Operation] = []
        hindrance: KernelError | None = None
        for operation in operations:
            try:
                wanted = self._requests(operation, open_namespace)
            except KernelError as error:  # what comes before it is done first, and may fail first
                hindrance = error
                break
            requests += wanted
            owners += [operation] * len(wanted)
        answers = self._netlink.transact(requests) if requests else []
        for operation, answer in zip(owners, answers, strict=True):
            if answer.errno and not (operation.verb is Verb.DELETE and answer.errno in ABSENT):
                raise refused(self._path, operation, answer.errno, words=answer.words)
        if hindrance:
            raise hindrance

    def _requests(self, operation: Operation, open_namespace: Callable[[str], int]) -> list[Message]:
        try:
            return rtnetlink.requests(operation, self._index_of, open_namespace)
        except OSError as error:
            if operation.verb is Verb.DELETE and error.errno in ABSENT:
                return []
            raise refused(self._path, operation, error.errno or 0) from error

    def _index_of(self, name: str) -> int:
        if name not in self._indices:
            try:
                self._indices[name] = socket.if_nametoindex(name)
            except OSError as error:  # Python 3.11 leaves its number out
                raise OSError(errno.ENODEV, f"no device {name}") from error
        return self._indices[name]

    def _write(self, operation: Operation, setting: Sysctl) -> None:
        try:
            sysctl.write(setting.path, setting.value)
        except KernelError as error:
            raise refused(self._path, operation, error.errno, remedy=error.remedy) from error


def _opener(descriptors: ExitStack) -> Callable[[str], int]:
    """Return what opens a namespace for as long as the stack lives."""

    def open_namespace(path: str) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        descriptors.callback(os.close, descriptor)
        return descriptor

    return open_namespace
