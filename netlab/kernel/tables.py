"""Keeps nft tables in a namespace: writes the difference when what is wanted changes, repairs what a stranger broke.

Theory. What was written last is remembered, so a change costs its own size and not the table's. All tables of a process
change in one transaction: no packet meets half of them, and nft is started once. Every commit to a namespace's ruleset, by
anybody, raises its generation; after a write of ours it should have grown by one.
1. The generation of a new namespace proves that there is nothing: all is written, and nothing looked at.
2. At a resync an equal generation proves that nobody has touched anything, without reading a rule. When it differs,
   nothing is taken for known any more: each table is listed, compared with how the kernel itself would print what is
   wanted, and repaired where the two differ.
3. The same comparison adopts the tables of a process that was killed: nothing is flushed, no packet sees a gap
   (semantics 6.21, 18.24).
4. After an error nothing is taken for known either.
5. While a table is not known, packets may meet any rules at all, also ones that are gone by the time it is looked at, and
   conntrack goes on treating their flows so: who cares about that asks whether a table `was_unknown`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from netlab.errors import KernelError
from netlab.kernel.door import DRAFT_COMMITS, UNTOUCHED, Kernel, Listing
from netlab.netfilter.repair import repair
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import contents, render, transaction

DRAFT = "netlab-draft"  # the name of a table that is only there to be listed
Name = tuple[str, str]  # family and table
log = logging.getLogger("netlab.kernel")


class TableKeeper:
    """The tables that one process keeps in one namespace. All calls block."""

    def __init__(self, kernel: Kernel, path: str) -> None:
        self._kernel = kernel
        self._path = path
        self._written: dict[Name, Ruleset] = {}
        self._generation = 0
        self._unknown: frozenset[Name] = frozenset()

    def keep(self, *wanted: Ruleset, resync: bool = False) -> bool:
        """Make the tables what is wanted; tell whether anything was written.

        With `resync` somebody else's changes to the ruleset are looked for first. Raises KernelError; the next call
        then looks afresh.
        """
        generation = self._kernel.nft_generation(self._path)
        before = set(self._written)
        if resync and generation != self._generation:
            self._written.clear()
        unknown = frozenset(map(_name, wanted)) - set(self._written) if generation != UNTOUCHED else frozenset()
        all_ours = generation == self._generation or not self._written
        try:
            scripts, commits = self._scripts(wanted, generation)
            if any(scripts):
                self._kernel.nft(self._path, "".join(scripts))
                commits += 1
        except KernelError:
            self._written.clear()
            raise
        for ruleset, script in zip(wanted, scripts, strict=True):
            if script and _name(ruleset) in before - set(self._written):
                log.warning("table=%s/%s state=repaired", *_name(ruleset))
            self._written[_name(ruleset)] = ruleset
        self._unknown = unknown
        if all_ours:
            self._generation = generation + commits
        return any(scripts)

    def written(self, family: str, table: str) -> Ruleset | None:
        """Return what a table was made last, None when that is not known."""
        return self._written.get((family, table))

    def was_unknown(self, family: str, table: str) -> bool:
        """Tell whether nobody knew what rules a table held when the last `keep` began: a stranger's, a predecessor's."""
        return (family, table) in self._unknown

    def _scripts(self, wanted: Iterable[Ruleset], generation: int) -> tuple[list[str], int]:
        """Return the script of each table, empty where nothing is to be done, and how many commits it took to know."""
        scripts, commits = [], 0
        for ruleset in wanted:
            known = self._written.get(_name(ruleset))
            if known or generation == UNTOUCHED:
                scripts.append(transaction(known, ruleset))
                continue
            observed = self._kernel.nft_list(self._path, ruleset.family, ruleset.table)
            if observed.exists:
                scripts.append(repair(observed, self._canonical(ruleset), ruleset))
                commits += DRAFT_COMMITS
            else:
                scripts.append(render(ruleset))
        return scripts, commits

    def _canonical(self, wanted: Ruleset) -> Listing:
        return canonical(self._kernel, self._path, wanted)


def canonical(kernel: Kernel, path: str, wanted: Ruleset) -> Listing:
    """Return how a namespace would list a table."""
    draft = replace(wanted, table=DRAFT)
    return kernel.nft_canonical(path, contents(draft), draft.family, draft.table)


def _name(ruleset: Ruleset) -> Name:
    return ruleset.family, ruleset.table
