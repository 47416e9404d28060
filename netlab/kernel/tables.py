"""Keeps nft tables in a namespace: writes the difference when what is wanted changes, repairs what a stranger broke.

Theory. What was written last is remembered, so a change costs its own size and not the table's. Every commit to a
namespace's ruleset, by anybody, raises its generation; after a write of ours it should have grown by one. At a resync
an equal generation proves that nobody has touched anything, without reading a rule. Only when it differs is the table
listed, compared with how the kernel itself would print what is wanted, and repaired where the two differ.
The same comparison adopts the tables of a process that was killed: nothing is flushed, no packet sees a gap
(semantics 6.21, 18.24). After an error nothing is taken for known any more.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from netlab.errors import KernelError
from netlab.kernel.door import DRAFT_COMMITS, Kernel
from netlab.netfilter.repair import repair
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import contents, render, transaction

DRAFT = "netlab-draft"  # the name of a table that is only there to be listed
log = logging.getLogger("netlab.kernel")


class TableKeeper:
    """The tables that one process keeps in one namespace. All calls block."""

    def __init__(self, kernel: Kernel, path: str) -> None:
        self._kernel = kernel
        self._path = path
        self._written: dict[tuple[str, str], Ruleset] = {}
        self._generation = 0

    def keep(self, wanted: Ruleset, *, resync: bool = False) -> bool:
        """Make the table what is wanted; tell whether anything was written.

        With `resync` somebody else's changes to the ruleset are looked for first. Raises KernelError; the next call
        then looks afresh.
        """
        name = (wanted.family, wanted.table)
        generation = self._kernel.nft_generation(self._path)
        known = self._written.get(name) if generation == self._generation or not resync else None
        try:
            script, commits = (transaction(known, wanted), 0) if known else self._adoption(wanted)
            if script:
                self._kernel.nft(self._path, script)
                commits += 1
        except KernelError:
            self._written.clear()
            raise
        if script and known is None and name in self._written:
            log.warning("table=%s/%s state=repaired", *name)
        self._written[name] = wanted
        if generation == self._generation or known is None:
            self._generation = generation + commits
        return bool(script)

    def written(self, family: str, table: str) -> Ruleset | None:
        """Return what a table was made last, None when that is not known."""
        return self._written.get((family, table))

    def _adoption(self, wanted: Ruleset) -> tuple[str, int]:
        """Return the script that takes the table from what it is to what is wanted, and how many commits it took to know."""
        observed = self._kernel.nft_list(self._path, wanted.family, wanted.table)
        if not observed.exists:
            return render(wanted), 0
        draft = replace(wanted, table=DRAFT)
        canonical = self._kernel.nft_canonical(self._path, contents(draft), draft.family, draft.table)
        return repair(observed, canonical, wanted), DRAFT_COMMITS
