"""Removes what the tester's packets leave in the machine's neighbor table (`netlab.kernel.neighbours`).

A pod reaches most addresses through its gateway, for which it has a permanent entry. Two pods of one node answer each other
directly over the bridge: each learns the other's MAC address, which costs two entries of a table that all network namespaces
of the machine share. A lab of 700 pods would fill it with one check per pod.

So the tester remembers which pairs of pods have met, and once there are more than MOST_PAIRS it takes the entries of the
oldest pair out again. Not at once: the end of a connection may still be under way. A small lab keeps all its entries.
"""

from __future__ import annotations

from contextlib import suppress

from netlab.dataplane import names
from netlab.errors import KernelError
from netlab.kernel.door import Kernel
from netlab.probe.plan.checks import Check, Kind, Place, Reach
from netlab.probe.plan.snapshot import Snapshot
from netlab.probe.run.observed import Observed

MOST_PAIRS = 64


class Meetings:
    """The pairs of pods of one node that the tester has made meet, the oldest first."""

    def __init__(self, snapshot: Snapshot, kernel: Kernel) -> None:
        self._snapshot = snapshot
        self._kernel = kernel
        self._pairs: dict[tuple[str, str], tuple[Place, Place]] = {}  # by their addresses

    def note(self, check: Check, observed: Observed) -> None:
        """Record an exchange; if there are too many pairs, delete the learned entries of the oldest."""
        source = check.source
        if source.kind is not Kind.POD:
            return
        for address in self._partners(check, observed) - {source.address}:
            other = self._snapshot.place_at(address)
            if other.kind is Kind.POD and other.node == source.node:
                first, second = sorted((source, other), key=lambda place: place.address)
                self._pairs.pop((first.address, second.address), None)
                self._pairs[first.address, second.address] = (first, second)
        while len(self._pairs) > MOST_PAIRS:
            first, second = self._pairs.pop(next(iter(self._pairs)))
            self._forget(first, second.address)
            self._forget(second, first.address)

    def _partners(self, check: Check, observed: Observed) -> set[str]:
        """Return the addresses with which a source may have exchanged packets, backends of Services included."""
        found = {check.action.target.address} if isinstance(check.action, Reach) else set()
        found |= {hit.backend.rpartition(":")[0] for hit in observed.hits}
        for sighting in observed.trail:
            found |= {sighting.packet.source, sighting.packet.destination}
        return found

    def _forget(self, place: Place, address: str) -> None:
        with suppress(KernelError):  # a pod that is gone has taken its entries along
            self._kernel.forget_neighbours(names.namespace_path(place.namespace), (address,))
