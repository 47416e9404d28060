"""Why a packet ended where it was last seen, where the node's own state decides it: facts, no guesses.

For each kind of place where packets end, one question to the kernel (verification 3, faults 1, 2, 4, 10, 11, 14):

    entering a device of a node      does the node forward at all?
    at the bridge, to itself         will the bridge send a frame back out of the port it came from?
    leaving flannel.1                is there a forwarding entry for the other node's VTEP?

No answer is no hint. A question that fails does not fail the check.
"""

from __future__ import annotations

from collections.abc import Iterator

from netlab.dataplane import names
from netlab.dataplane.state import NamespaceState
from netlab.errors import KernelError
from netlab.kernel.door import Kernel
from netlab.probe.checks import Check, Kind
from netlab.probe.observed import Observed
from netlab.probe.outcome import Outcome
from netlab.probe.snapshot import Snapshot

FORWARDING = "net/ipv4/ip_forward"


class Hints:
    """Asks each node once per run."""

    def __init__(self, snapshot: Snapshot, kernel: Kernel) -> None:
        self._snapshot = snapshot
        self._kernel = kernel
        self._states: dict[str, NamespaceState | None] = {}

    def of(self, check: Check, observed: Observed) -> tuple[str, ...]:
        """Return what explains a check's failure, as sentences."""
        if observed.outcome is not Outcome.DROPPED or not observed.requests:
            return ()
        last = observed.requests[-1]
        if last.namespace not in self._snapshot.addresses or (state := self._state(last.namespace)) is None:
            return ()
        finders = {"in": (self._forwards, self._hairpins), "out": (self._hairpins, self._tunnels)}[last.direction]
        return tuple(sentence for find in finders for sentence in find(state, check, observed))

    def _state(self, node: str) -> NamespaceState | None:
        if node not in self._states:
            path = names.namespace_path(names.host_namespace(self._snapshot.name, node))
            try:
                self._states[node] = self._kernel.observe(path, sysctls=(FORWARDING,))
            except KernelError:
                self._states[node] = None
        return self._states[node]

    def _forwards(self, state: NamespaceState, _check: Check, observed: Observed) -> Iterator[str]:
        node = observed.requests[-1].namespace
        if state.sysctls.get(FORWARDING) == "0":
            yield f"{node} does not forward: net.ipv4.ip_forward is 0 there"

    def _hairpins(self, state: NamespaceState, check: Check, observed: Observed) -> Iterator[str]:
        node = observed.requests[-1].namespace
        device = next(s.device for s in observed.requests if s.namespace == node)  # the first there is the pod's port
        own = {b for b in check.expectation.backends if b.rpartition(":")[0] == check.source.address}
        for link in state.links:
            if own and check.source.kind is Kind.POD and link.name == device and link.hairpin is False:
                yield f"hairpin mode is off on {device} of {node}: the bridge sends no frame back out of the port it came from"

    def _tunnels(self, state: NamespaceState, _check: Check, observed: Observed) -> Iterator[str]:
        last = observed.requests[-1]
        target = self._snapshot.place_at(last.packet.destination).node
        if not last.device.startswith("flannel") or target not in self._snapshot.addresses:
            return
        addresses = self._snapshot.addresses[target]
        macs = {n.mac for n in state.neighbours if n.device == last.device and n.address == addresses.overlay}
        if not macs:
            yield f"{last.namespace} has no neighbour entry for {addresses.overlay}, {target}'s end of the overlay"
        remotes = {f.remote for f in state.forwarding if f.mac in macs and f.device == last.device}
        if macs and addresses.underlay not in remotes:
            sends = f"sends them to {', '.join(sorted(remotes))}" if remotes else "has no forwarding entry for them"
            yield f"frames for {target} must go to {addresses.underlay}; {last.device} of {last.namespace} {sends}"
