"""Keeps nft tables in a namespace: writes the difference when what is wanted changes, repairs what a stranger broke.

Theory. What was written last is remembered, so a change costs its own size and not the table's. Every commit to a
namespace's ruleset, by anybody, raises its generation; after a write the generation should have grown by one. At a
resync an equal generation proves that nobody has touched anything, without reading a rule. Only when it differs is the
table listed, compared with how the kernel itself would print what is wanted, and repaired where they differ.
The same comparison adopts the tables of an agent that was killed: nothing is flushed, no packet sees a gap
(semantics 6.21, 18.24).
"""

from __future__ import annotations

import logging

from netlab.kernel.door import Kernel
from netlab.netfilter.repair import repair
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import render, transaction

log = logging.getLogger("netlab.node")


class TableKeeper:
    """The tables one process keeps in one namespace."""

    def __init__(self, kernel: Kernel, path: str) -> None:
        self._kernel = kernel
        self._path = path
        self._written: dict[tuple[str, str], Ruleset] = {}
        self._generation: int | None = None

    def keep(self, wanted: Ruleset) -> bool:
        """Make the table what is wanted; tell whether anything was written. Raises KernelError."""
        name = (wanted.family, wanted.table)
        script = transaction(self._written[name], wanted) if name in self._written else self._adoption(wanted)
        if script:
            self._write(script)
        self._written[name] = wanted
        return bool(script)

    def resync(self) -> bool:
        """Repair what somebody else changed; tell whether there was anything. Costs one question when there was not."""
        if self._kernel.nft_generation(self._path) == self._generation:
            return False
        repaired = False
        for wanted in self._written.values():
            if script := self._adoption(wanted):
                log.warning("table=%s/%s repaired: it was not what this agent wrote", wanted.family, wanted.table)
                self._write(script)
                repaired = True
        self._generation = self._kernel.nft_generation(self._path)
        return repaired

    def _adoption(self, wanted: Ruleset) -> str:
        """Return the script that takes the table from what it is to what is wanted."""
        observed = self._kernel.nft_list(self._path, wanted.family, wanted.table)
        whole = render(wanted)
        if not observed.exists:
            return whole
        return repair(observed, self._kernel.nft_canonical(whole, wanted.family, wanted.table), wanted)

    def _write(self, script: str) -> None:
        before = self._kernel.nft_generation(self._path)
        self._kernel.nft(self._path, script)
        undisturbed = self._generation in {None, before}
        self._generation = before + 1 if undisturbed else self._generation
