"""Keeps nft tables in a namespace: writes the difference when what is wanted changes, repairs what another process broke.

Theory. What was written last is remembered, so a change costs its own size and not the table's. All tables of a process
change in one transaction: no packet meets half of them, and nft is started once. Every commit to a namespace's ruleset, by
anybody, raises its generation; after a write of ours it should have grown by one.
1. The generation of a new namespace proves that there is nothing: all is written, and nothing looked at.
2. At a resync an equal generation proves that nothing was touched, without reading a rule. When it differs,
   nothing is taken for known any more: each table is listed, compared with how the kernel itself would print what is
   wanted, and repaired where the two differ.
3. The same comparison adopts the tables of a process that was killed: nothing is flushed, no packet sees a gap
   (semantics 6.21, 18.24).
4. After an error nothing is taken for known either.
   A fragment fails alone: one whose text may not occur in a script (`netfilter.vetting`) is left out before nft is asked. When
   the kernel refuses a transaction, fragments are added to a dormant draft by halves until those that it refuses are found;
   the others are written. If the draft takes them all, the error was about the tables as they are, and is raised.
5. Packets that met other rules than the wanted ones have flows in conntrack that stay as they are: a caller that deletes
   them asks whether a table `was_unknown`. A table that this process has never read was; one that it has written was if it
   is found to differ.
   A commit of another process to another table, as for `nft monitor trace`, does not concern ours. (Rules that were changed and
   put back between two looks are not found out.)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from netlab.containment import Containment
from netlab.errors import KernelError
from netlab.kernel.canonical import canonical
from netlab.kernel.door import DRAFT_COMMITS, UNTOUCHED, Kernel
from netlab.netfilter.listing import Listing
from netlab.netfilter.repair import repair
from netlab.netfilter.ruleset import FRAME, Fragment, Ruleset
from netlab.netfilter.script import render, transaction
from netlab.netfilter.vetting import vet, without

Name = tuple[str, str]  # family and table
log = logging.getLogger("netlab.kernel")


class TableKeeper:
    """The tables that one process keeps in one namespace. All calls block."""

    def __init__(self, kernel: Kernel, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._kernel = kernel
        self._path = path
        self._vetted: dict[Name, Mapping[str, Fragment]] = {}
        self._unsafe: dict[Name, dict[str, Exception]] = {}
        self._culprits: dict[Name, dict[str, Fragment]] = {}  # fragments that the kernel refused
        self._refusals = Containment(log, "fragment", clock)
        self._written: dict[Name, Ruleset] = {}
        self._generation = 0
        self._unknown: frozenset[Name] = frozenset()

    def keep(self, *wanted: Ruleset, resync: bool = False) -> bool:
        """Make the tables what is wanted; return whether anything was written.

        With `resync` changes of other processes to the ruleset are looked for first. Fragments that cannot be written are left
        out (`refused`). Raises KernelError for any other refusal; the next call then looks afresh.
        """
        sound = [self._sound(ruleset) for ruleset in wanted]
        try:
            return self._keep(sound, resync=resync)
        except KernelError:
            if not self._find_culprits(sound):
                raise
        return self._keep([self._sound(ruleset) for ruleset in wanted], resync=True)

    def refused(self, family: str, table: str) -> Mapping[str, Exception]:
        """Return the fragments of a table that are left out, and why."""
        name = (family, table)
        failures = {key: self._refusals.failures.get(_place(name, key)) for key in self._culprits.get(name, ())}
        return {**self._unsafe.get(name, {}), **{key: failure.error for key, failure in failures.items() if failure}}

    def _sound(self, ruleset: Ruleset) -> Ruleset:
        """Return a table without the fragments that cannot be written."""
        name = _name(ruleset)
        vetted, self._unsafe[name] = vet(ruleset, self._vetted.get(name, {}))
        self._vetted[name] = vetted.fragments
        culprits = self._culprits.get(name, {})
        for key, fragment in dict(culprits).items():
            if ruleset.fragments.get(key) != fragment:
                del culprits[key]
        waiting = [key for key in culprits if not self._refusals.is_due(_place(name, key))]
        return without(vetted, waiting)

    def _find_culprits(self, wanted: Sequence[Ruleset]) -> bool:
        """Find the fragments that the kernel refuses; return whether there are any."""
        found = False
        for ruleset in wanted:
            frame = [FRAME] if FRAME in ruleset.fragments else []
            if self._refusal(ruleset, frame):
                continue  # the fault is not in what objects add
            others = [key for key in ruleset.fragments if key != FRAME]
            for key, error in self._admit(ruleset, frame, others).items():
                self._culprits.setdefault(_name(ruleset), {})[key] = ruleset.fragments[key]
                self._refusals.failed(_place(_name(ruleset), key), error)
                found = True
        return found

    def _admit(self, ruleset: Ruleset, admitted: list[str], keys: Sequence[str]) -> dict[str, KernelError]:
        """Add to `admitted` those of `keys` that the kernel takes beside it; return the others, and why not."""
        error = self._refusal(ruleset, [*admitted, *keys])
        if error is None:
            admitted += keys
            return {}
        if len(keys) <= 1:
            return dict.fromkeys(keys, error)
        half = len(keys) // 2
        refused = self._admit(ruleset, admitted, keys[:half])
        return {**refused, **self._admit(ruleset, admitted, keys[half:])}

    def _refusal(self, ruleset: Ruleset, keys: Sequence[str]) -> KernelError | None:
        """Return why the kernel does not take some fragments of a table together, None when it does."""
        try:
            self._canonical(without(ruleset, ruleset.fragments.keys() - frozenset(keys)))
        except KernelError as error:
            return error
        return None

    def _keep(self, wanted: Sequence[Ruleset], *, resync: bool) -> bool:
        generation = self._kernel.nft_generation(self._path)
        before = dict(self._written)
        if resync and generation != self._generation:
            self._written.clear()
        all_ours = generation == self._generation or not self._written
        try:
            scripts, commits, unknown = self._scripts(wanted, generation, before)
            if any(scripts):
                self._kernel.nft(self._path, "".join(scripts))
                commits += 1
        except KernelError:
            self._written.clear()
            raise
        for name in map(_name, wanted):
            if name in unknown and name in before:
                log.warning("table=%s/%s state=repaired", *name)
        self._written.update({_name(ruleset): ruleset for ruleset in wanted})
        self._unknown = unknown
        if all_ours:
            self._generation = generation + commits
        return any(scripts)

    def written(self, family: str, table: str) -> Ruleset | None:
        """Return what a table was made last, None when that is not known."""
        return self._written.get((family, table))

    def was_unknown(self, family: str, table: str) -> bool:
        """Return whether a table may have held other rules than ours when the last `keep` began: another process's."""
        return (family, table) in self._unknown

    def _scripts(
        self, wanted: Iterable[Ruleset], generation: int, before: Mapping[Name, Ruleset]
    ) -> tuple[list[str], int, frozenset[Name]]:
        """Return the script of each table, empty where nothing is to be done, and how many commits the comparison took.

        Third are the tables that may have held other rules than what was written last (`before`).
        """
        scripts, commits, unknown = [], 0, set()
        for ruleset in wanted:
            known = self._written.get(_name(ruleset))
            if known or generation == UNTOUCHED:
                scripts.append(transaction(known, ruleset))
                continue
            observed = self._kernel.nft_list(self._path, ruleset.family, ruleset.table)
            scripts.append(self._repair(observed, ruleset))
            commits += DRAFT_COMMITS * observed.exists
            last = before.get(_name(ruleset))
            damage = scripts[-1]
            if last and last != ruleset:  # the objects changed, too
                damage = self._repair(observed, last)
                commits += DRAFT_COMMITS * observed.exists
            if last is None or damage:
                unknown.add(_name(ruleset))
        return scripts, commits, frozenset(unknown)

    def _repair(self, observed: Listing, wanted: Ruleset) -> str:
        return repair(observed, self._canonical(wanted), wanted) if observed.exists else render(wanted)

    def _canonical(self, wanted: Ruleset) -> Listing:
        return canonical(self._kernel, self._path, wanted)


def _place(name: Name, key: str) -> str:
    return f"{'/'.join(name)}:{key}"


def _name(ruleset: Ruleset) -> Name:
    return ruleset.family, ruleset.table
