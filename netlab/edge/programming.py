"""From what the load balancer is to do to the edge's kernel: the addresses on `lo`, the rules, UDP flows to forget.

What was programmed last is remembered, so that a change costs a transaction of the difference and nothing is written when
nothing changed. The first time, and when somebody else has touched the rules (the kernel counts commits), the table is
listed, compared and repaired. All calls block: they belong into a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from netlab.dataplane.diff import diff
from netlab.dataplane.state import Address, Link, NamespaceState
from netlab.edge.rules import FAMILY, TABLE, Balancing, compile_rules, stale_flows
from netlab.errors import KernelError
from netlab.kernel.door import FlowFilter, Kernel
from netlab.netfilter.repair import repair
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import render, transaction

LOG = logging.getLogger("netlab.edge")
LOOPBACK = "lo"


def loopback_state(addresses: Iterable[str]) -> NamespaceState:
    """Return what `lo` should hold: 127.0.0.1 and each load balancer address as a /32, so that the kernel takes it as its own."""
    wanted = (Address(LOOPBACK, f"{address}/32") for address in dict.fromkeys(addresses))
    return NamespaceState(links=(Link(LOOPBACK),), addresses=(Address(LOOPBACK, "127.0.0.1/8"), *wanted))


class Programmer:
    """Brings the edge's namespace to what is wanted. `path` names the namespace."""

    def __init__(self, kernel: Kernel, path: str) -> None:
        self._kernel = kernel
        self._path = path
        self._balancing: Balancing | None = None
        self._ruleset: Ruleset | None = None
        self._addresses: frozenset[str] | None = None
        self._generation = 0

    def program(self, balancing: Balancing, addresses: frozenset[str], *, resync: bool = False) -> None:
        """Make it so; `resync` also looks for what somebody else has changed. After a KernelError the next call looks afresh."""
        try:
            self._program_rules(balancing, resync=resync)
            if resync or addresses != self._addresses:
                self._program_addresses(addresses)
            self._forget_flows(balancing)
        except KernelError:
            self._ruleset = self._addresses = None
            raise

    def _program_rules(self, balancing: Balancing, *, resync: bool) -> None:
        """Write the difference. Our commit raises the generation by one; by more, and somebody else has written too."""
        wanted = compile_rules(balancing, self._ruleset)
        generation = self._kernel.nft_generation(self._path)
        known = self._ruleset is not None and (generation == self._generation or not resync)
        script = transaction(self._ruleset, wanted) if known else self._repair(wanted)
        if script:
            self._kernel.nft(self._path, script)
            LOG.info("rules changed frontends=%d bytes=%d", len(balancing.healthy), len(script))
        if generation == self._generation or not known:
            self._generation = generation + bool(script)
        self._ruleset = wanted

    def _repair(self, wanted: Ruleset) -> str:
        observed = self._kernel.nft_list(self._path, FAMILY, TABLE)
        if not observed.exists:
            return render(wanted)
        return repair(observed, self._kernel.nft_canonical(render(wanted), FAMILY, TABLE), wanted)

    def _program_addresses(self, addresses: frozenset[str]) -> None:
        observed = self._kernel.observe(self._path)
        operations = diff(loopback_state(sorted(addresses)), observed, lambda link: link == LOOPBACK)
        if operations:
            self._kernel.perform(self._path, operations)
            LOG.info("addresses changed count=%d", len(addresses))
        self._addresses = addresses

    def _forget_flows(self, balancing: Balancing) -> None:
        filters = [
            FlowFilter("udp", flow.destination, flow.destination_port, flow.reply_source)
            for flow in stale_flows(self._balancing, balancing)
        ]
        self._balancing = balancing
        if filters:
            self._kernel.delete_flows(self._path, filters)
