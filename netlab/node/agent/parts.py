"""Keeps parts of a node's network plane in its namespace (`netlab.plane`).

Links and routes first, each part's by itself; then the tables of all parts in one transaction; then
conntrack forgets the flows that went by other rules (semantics 6.18).

Rules first, flows after: the next packet of a forgotten flow must meet the new rules. Flows are
stale for two reasons: the objects have changed (the part computes which flows that concerns), or
another process has changed rules. Then any flow of the part may have been sent anywhere and would stay
there when the rules are right again, as would that of another client that takes the same port. So
all flows of the part are forgotten at the resync that finds the change; one that was right is
translated again at its next packet.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from netlab.dataplane.flows import FlowFilter
from netlab.kernel.door import UNTOUCHED, Kernel
from netlab.kernel.states import StateKeeper
from netlab.kernel.tables import TableKeeper
from netlab.plane import Part, View, Wanted

log = logging.getLogger("netlab.node")


class PartsKeeper:
    """Parts that are kept together in one node's namespace. All calls block."""

    def __init__(
        self,
        kernel: Kernel,
        path: str,
        parts: Sequence[Part],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kernel = kernel
        self._path = path
        self._parts = {part.name: part for part in parts}
        self._states = {name: StateKeeper(kernel, path, name, clock) for name in self._parts}
        self._tables = TableKeeper(kernel, path, clock)
        self._wanted: Mapping[str, Wanted] = {name: Wanted() for name in self._parts}
        self._written: View | None = None  # the view of the tables that the kernel holds, if known

    @property
    def repaired(self) -> bool:
        """Return whether the last `keep` undid a change of links or routes by another process."""
        return any(state.repaired for state in self._states.values())

    @property
    def refused(self) -> Mapping[str, Exception]:
        """The objects that are left out, and why: `node node3`, `service ns/name`."""
        found: dict[str, Exception] = {}
        for name, part in self._parts.items():
            wanted = self._wanted[name]
            fragments = dict(self._states[name].refused)
            for table in wanted.tables:
                fragments.update(self._tables.refused(table.family, table.table))
            found.update(wanted.refused)
            found.update({f"{part.noun} {key}": error for key, error in fragments.items()})
        return found

    def keep(self, view: View, *, resync: bool = False) -> None:
        """Bring the namespace to what the parts want.

        The kernel is read at a resync only, or if something else is wanted than before. Raises
        KernelError if it refuses what no object adds, InvalidValueError if the own Node object
        cannot be used; the next call then reads it again.
        """
        wanted = {name: part.wanted(view) for name, part in self._parts.items()}
        self._report_awaited(wanted)
        self._wanted = wanted
        for name, part in wanted.items():
            if part.state is not None:
                self._states[name].keep(part.state, resync=resync)
        if tables := [table for part in wanted.values() for table in part.tables]:
            had_rules = self._kernel.nft_generation(self._path) != UNTOUCHED
            self._tables.keep(*tables, resync=resync)
            if had_rules:  # without rules no flow is tracked
                self._forget(self._stale(view))
        self._written = view

    def _stale(self, view: View) -> Sequence[FlowFilter]:
        found: dict[FlowFilter, None] = {}
        for name, part in self._parts.items():
            found.update(dict.fromkeys(part.stale_flows(self._written, view)))
            tables = self._wanted[name].tables
            if any(self._tables.was_unknown(table.family, table.table) for table in tables):
                found.update(dict.fromkeys(part.stale_flows(None, view)))
        return tuple(found)

    def _forget(self, stale: Sequence[FlowFilter]) -> None:
        if stale:
            count = self._kernel.delete_flows(self._path, stale)
            log.debug("flows=forgotten namespace=%s count=%d", self._path, count)

    def _report_awaited(self, wanted: Mapping[str, Wanted]) -> None:
        """Log which objects are incomplete, once per change."""
        for name, part in wanted.items():
            if part.awaited != self._wanted[name].awaited:
                for key, reason in part.awaited.items():
                    log.info("%s=ignored object=%r reason=%r", name, key, reason)
