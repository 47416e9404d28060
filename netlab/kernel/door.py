"""The door to the kernel: what every layer above may ask of it, as one Protocol.

`netlab.kernel.linux.LinuxKernel` is the real thing and `netlab.kernel.fake.FakeKernel` the one for tests; both
pass the same contract tests and raise the same `KernelError`. A namespace is named by its path, e.g.
`/run/netns/quickstart-node1`. All calls block (briefly), enter the namespace by `setns` in the calling thread and
leave it again, so they are safe in any thread and never change the caller's namespace.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from netlab.dataplane.flows import FlowFilter
from netlab.dataplane.state import NamespaceState, Operation
from netlab.netfilter.listing import Listing

DRAFT_COMMITS = 2  # a draft is made and removed
UNTOUCHED = 1  # the generation of a ruleset that was never written: there is no table


class Occupant(Enum):
    """What is found at the path of a network namespace."""

    NOTHING = "nothing"
    NAMESPACE = "a network namespace"
    NAME = "the empty file of a network namespace that is gone"
    OTHER = "something else: a symbolic link, a folder, a file with content"


@dataclass(frozen=True)
class NeighbourTable:
    """The machine's table of neighbor (ARP) entries, which all its network namespaces share.

    `limit` is how many learned entries it holds at most; permanent ones are not counted. `overflows` counts since the machine
    booted how often there was no space for an entry: each time a packet was lost.
    """

    limit: int = 1024
    overflows: int = 0


class Monitor(Protocol):
    """Receives changes of links, addresses and routes in one namespace."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when something has changed."""

    def read(self) -> frozenset[str]:
        """Return the devices that it happened to since the last call, `*` for any; never blocks."""

    def close(self) -> None:
        """Stop listening."""


class Kernel(Protocol):
    """Namespaces, links, rules and flows of the Linux network stack."""

    def create_namespaces(self, paths: Sequence[str]) -> None:
        """Make named network namespaces (with `lo` up). One that exists is left as it is."""

    def delete_namespaces(self, paths: Sequence[str]) -> None:
        """Remove named namespaces. One that does not exist is not an error."""

    def namespace_exists(self, path: str) -> bool:
        """Return whether `path` is a live network namespace."""

    def occupant(self, path: str) -> Occupant:
        """Return what is found at `path`, without following a symbolic link."""

    def bind_namespaces(self, sources: Mapping[str, str]) -> tuple[str, ...]:
        """Give names (the keys) to namespaces that another process made (/proc/<pid>/ns/net); return the names given now.

        A name that was another namespace's is taken from it. That one's links are deleted first, with the far ends of its
        cables: it may live on for a while, and nothing of it should be in the way of the new one.
        """

    def inside(self, path: str) -> AbstractContextManager[None]:
        """Enter the namespace in this thread for a `with` block: for sockets, which stay where they were made."""

    def scratch(self) -> AbstractContextManager[str]:
        """Make a new, nameless namespace for a `with` block of this thread, and return the path to give to other calls."""

    def observe(self, path: str, *, sysctls: Sequence[str] = (), policy: bool = False) -> NamespaceState:
        """Return the state of a namespace; of sysctls only those named, of policy routing only where asked.

        With `policy`, `rules` are listed, and `routes` holds those of the tables that they name.
        """

    def monitor(self, path: str) -> Monitor:
        """Return a receiver of the changes of a namespace from now on, its caller's own included."""

    def perform(self, path: str, operations: Sequence[Operation]) -> None:
        """Do the operations in order, in one netlink batch where possible.

        Raises KernelError naming the first operation refused; those before it stay done.
        """

    def nft(self, path: str, script: str) -> None:
        """Run one nft transaction (`nft -f -`): all of it or nothing. Raises KernelError with nft's words."""

    def nft_list(self, path: str, family: str, table: str) -> Listing:
        """Return a table as it is, `exists=False` when there is none."""

    def nft_canonical(self, path: str, contents: str, family: str, table: str) -> Listing:
        """Return how the namespace would list a table with these contents: a dormant draft called `table` is made and removed.

        The way to compare wanted rules with those observed whatever the version of nft: ask it to print both. The ruleset's
        generation grows by DRAFT_COMMITS.
        """

    def nft_generation(self, path: str) -> int:
        """Return the ruleset's generation, which grows with every commit of any process in that namespace."""

    def delete_flows(self, path: str, filters: Sequence[FlowFilter]) -> int:
        """Delete the conntrack entries that match any filter and return how many."""

    def tracked_ports(self, path: str, protocol: str) -> frozenset[int]:
        """Return the source ports of the flows of a protocol (`udp`) that conntrack remembers, as their clients sent them."""

    def neighbour_table(self) -> NeighbourTable:
        """Return the limit of the machine's neighbor table and how often it has overflowed. Needs no privilege."""

    def forget_neighbours(self, path: str, addresses: Collection[str]) -> int:
        """Delete the learned neighbor entries of these addresses and return how many; permanent ones stay."""
