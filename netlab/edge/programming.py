"""From what the load balancer is to do to the edge's kernel: the addresses on `lo`, the rules, routes, UDP flows to forget.

The nft rules are kept by `netlab.kernel.tables`; addresses and routes are compared when they change, and at a resync. All calls
block: they belong into a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from netlab.dataplane.diff import LOOPBACK, LOOPBACK_ADDRESS, diff
from netlab.dataplane.state import Address, Link, NamespaceState
from netlab.edge.frontends import Backend
from netlab.edge.rules import FAMILY, TABLE, Balancing, compile_rules, stale_flows
from netlab.edge.steering import own_rules, steering_state
from netlab.errors import KernelError
from netlab.kernel.door import Kernel
from netlab.kernel.tables import TableKeeper

log = logging.getLogger("netlab.edge")


def loopback_state(addresses: Iterable[str]) -> NamespaceState:
    """Return what `lo` should hold: 127.0.0.1 and each load balancer address as a /32, so that the kernel takes it as its own."""
    wanted = (Address(LOOPBACK, f"{address}/32") for address in dict.fromkeys(addresses))
    return NamespaceState(links=(Link(LOOPBACK),), addresses=(Address(LOOPBACK, LOOPBACK_ADDRESS), *wanted))


class Programmer:
    """Brings the edge's namespace to what is wanted. `path` names the namespace."""

    def __init__(self, kernel: Kernel, path: str) -> None:
        self._kernel = kernel
        self._path = path
        self._tables = TableKeeper(kernel, path)
        self._balancing: Balancing | None = None
        self._steered: dict[str, Backend] = {}  # nodes that have, or had, connections by mark, by address
        self._placed: tuple[frozenset[str], tuple[Backend, ...]] | None = None  # addresses, and nodes with a route

    @property
    def refused(self) -> Mapping[str, Exception]:
        """The Services whose rules were left out: `service ns/name` -> why."""
        refused = self._tables.refused(FAMILY, TABLE)
        return {f"service {path.rsplit('/', 2)[0]}": error for path, error in refused.items()}

    def program(self, balancing: Balancing, addresses: frozenset[str], *, resync: bool = False) -> None:
        """Make it so; `resync` also looks for what somebody else has changed. After a KernelError the next call looks afresh."""
        try:
            wanted = compile_rules(balancing, self._tables.written(FAMILY, TABLE))
            if self._tables.keep(wanted, resync=resync):
                log.info("rules=changed frontends=%d", len(balancing.healthy))
            if any(not frontend.node_port for frontend in balancing.healthy):
                self._steered |= {node.address: node for node in balancing.nodes}
            placed = (addresses, tuple(self._steered.values()))
            if resync or placed != self._placed:
                self._place(*placed)
            self._forget_flows(balancing)
        except KernelError:
            self._placed = None
            raise

    def _place(self, addresses: frozenset[str], nodes: tuple[Backend, ...]) -> None:
        observed = own_rules(self._kernel.observe(self._path, policy=True))
        steering = steering_state(nodes, observed)
        wanted = replace(loopback_state(sorted(addresses)), routes=steering.routes, rules=steering.rules)
        operations = diff(wanted, observed, lambda link: link == LOOPBACK)
        if operations:
            self._kernel.perform(self._path, operations)
            log.info("addresses=changed count=%d routes=%d", len(addresses), len(steering.routes))
        self._placed = (addresses, nodes)

    def _forget_flows(self, balancing: Balancing) -> None:
        """Have conntrack forget what went by other rules: those of before, or a stranger's (as `node.agent_parts`)."""
        stale = stale_flows(self._balancing, balancing)
        if self._tables.was_unknown(FAMILY, TABLE):
            stale += stale_flows(None, balancing)
        self._balancing = balancing
        if stale:
            self._kernel.delete_flows(self._path, tuple(dict.fromkeys(stale)))
