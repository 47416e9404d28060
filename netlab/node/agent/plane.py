"""The keepers of a node's agent, each contained by itself: a failure of one does not stop the others.

Theory. The overlay, the rules of Services, the health check servers and DNS need different objects
and fail for different reasons, so a round runs each keeper in its own containment. One that
failed is tried again when one of its kinds has changed, at a resync, or after a delay that doubles.
The Lease reports what is programmed, per kind: the version up to which *every* keeper that reads the
kind has come (`synced`), and which keeper could not do what (`problems`).

`up` asks for a look at the kernel by an annotation of the Lab (`wellknown.LOOK`). Every keeper reads
the kind Lab for its sake: it has come up to the Lab's version when it has looked since, and one that
failed in a resync owes it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from netlab.containment import Containment
from netlab.controlplane.left_out import LeftOut, Problems

LABS: Final = "labs"
Versions = Mapping[str, str]  # kind, by its plural -> resourceVersion
NOTHING: Mapping[str, Exception] = {}


@dataclass
class Keeper:
    """One keeper: the kinds it reads, what it does for them, and the objects that it leaves out."""

    name: str
    kinds: frozenset[str]
    keep: Callable[[bool], Awaitable[None]]  # argument: whether to look for changes by other processes
    refused: Callable[[], Mapping[str, Exception]] = field(default=lambda: NOTHING)


class Plane:
    """Runs the keepers of one node, in order."""

    def __init__(self, parts: Sequence[Keeper], log: logging.Logger, clock: Callable[[], float]) -> None:
        self._parts = parts
        self._failing = Containment(log, "part", clock)
        self._left_out = LeftOut(log)
        self._done: dict[str, Versions] = {}  # part -> the versions of its last success
        self._owes_look: set[str] = set()

    async def run(self, versions: Versions, *, resync: bool) -> bool:
        """Bring every part to what is known at these versions; return whether all of them are there."""
        if resync:
            self._owes_look = {part.name for part in self._parts}
        for part in self._parts:
            seen = str(sorted((kind, versions[kind]) for kind in part.kinds))
            if not (resync or self._failing.is_due(part.name, seen)):
                continue
            with self._failing.contain(part.name, seen) as attempt:
                await part.keep(part.name in self._owes_look)
                self._done[part.name] = versions
                self._owes_look.discard(part.name)
            self._left_out.report(part.name, {"": attempt.error} if attempt.error else part.refused())
        return not self._failing.failures

    def is_failing(self, name: str) -> bool:
        """Return whether the last attempt of a part failed."""
        return name in self._failing.failures

    @property
    def synced(self) -> dict[str, str]:
        """Return up to which version of each kind all parts that read it have come; nothing before each has come once."""
        if len(self._done) < len(self._parts):
            return {}
        found: dict[str, int] = {}
        for part in self._parts:
            for kind in (*part.kinds, LABS):
                version = int(self._done[part.name][kind])
                found[kind] = min(found.get(kind, version), version)
        return {kind: str(version) for kind, version in sorted(found.items())}

    @property
    def problems(self) -> Problems:
        """Return what each part could not do."""
        return self._left_out.problems
