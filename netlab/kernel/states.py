"""Keeps a part's links, addresses and routes in a namespace as it wants them (`dataplane.owned`).

Theory. The difference between wanted and observed is performed in one batch. If the kernel refuses
the batch, the base is performed first and then each fragment by itself: a fragment of which the
kernel refuses an item is rolled back and tried again after a delay that doubles, the others stay. A
refused base is an error.

The kernel is only read when something else is wanted than before, or at a resync. A difference that
a resync alone finds was made by another process (`repaired`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from netlab.containment import Contained, Containment, describe
from netlab.dataplane.owned import OwnedState, items
from netlab.dataplane.state import NamespaceState, Operation, Verb
from netlab.errors import KernelError
from netlab.kernel.door import Kernel

log = logging.getLogger("netlab.kernel")


class StateKeeper:
    """One part's state in one namespace. All calls block. `name` is the part's, for the log."""

    def __init__(
        self,
        kernel: Kernel,
        path: str,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kernel = kernel
        self._path = path
        self._name = name
        self._failing = Containment(log, name, clock)  # fragments that the kernel refused
        self._kept: NamespaceState | None = None  # the last state that the kernel was brought to
        self.repaired = False  # the last `keep` undid a change by another process

    @property
    def refused(self) -> Mapping[str, Exception]:
        """The fragments that are left out because the kernel refused them, and its error."""
        return {name: failure.error for name, failure in self._failing.failures.items()}

    def keep(self, wanted: OwnedState, *, resync: bool = False) -> int:
        """Make the namespace what is wanted; return how many changes that took.

        Raises KernelError if the base is refused.
        """
        fragments = wanted.fragments
        self._failing.keep(fragments)
        waiting = {key for key in fragments if not self._failing.is_due(key, str(fragments[key]))}
        due = wanted.without(waiting)
        whole = due.whole
        same = whole == self._kept
        self.repaired = False
        if same and not resync:
            return 0
        self._kept = None
        operations = self._difference(due)
        try:
            self._kernel.perform(self._path, operations)
            self._failing.keep(waiting)
            self._kept = whole
        except KernelError:
            self._kept = self._one_by_one(due)
        self.repaired = same and bool(operations)
        if self.repaired:
            log.warning("%s=repaired changes=%d", self._name, len(operations))
        return len(operations)

    def _difference(self, wanted: OwnedState) -> tuple[Operation, ...]:
        return wanted.difference(self._kernel.observe(self._path))

    def _one_by_one(self, wanted: OwnedState) -> NamespaceState:
        """Perform the base, then each fragment; return what was wanted without those refused."""
        of_fragments = {item for part in wanted.fragments.values() for item in items(part)}
        steps = self._difference(wanted)
        self._kernel.perform(self._path, [step for step in steps if step.item not in of_fragments])
        for name, part in wanted.fragments.items():
            own = frozenset(items(part))
            with self._failing.contain(name, str(part)) as attempt:
                self._kernel.perform(self._path, [step for step in steps if step.item in own])
            if attempt.error:
                self._roll_back(name, part)
        return wanted.without(self._failing.failures).whole

    def _roll_back(self, name: str, fragment: NamespaceState) -> None:
        """Remove a fragment's items, the last first (semantics 2.18); a missing one is not an error."""
        steps = [Operation(Verb.DELETE, item) for item in reversed(items(fragment))]
        with Contained() as attempt:
            self._kernel.perform(self._path, steps)
        if attempt.error:
            error = describe(attempt.error)
            log.warning("%s=%s rollback=failed error=%r", self._name, name, error)
