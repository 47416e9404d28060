"""Why a packet or its answer ended where it was last seen, where the state of the nodes decides it: facts, no guesses.

For each kind of place where packets end, one question to the kernel (docs/semantics.md has the ways they should go):

    entering a device of a node        does the node forward at all?
    at the bridge, to itself           will the bridge send a frame back out of the port it came from?
    leaving flannel.1                  is there a neighbor, and a forwarding entry, for the other node's VTEP?
    in VXLAN                           does the frame go to the node that has the pod?
    on the underlay without VXLAN      is there a route over flannel.1 to the other node's pods?
    an answer at the asking pod        was it bridged past the rules that should have translated it back?

A problem of the machine is a hint for every packet that was lost, or could not be sent for lack of space.

And for each node that a failed check passed, whatever the outcome: are its tables what its agent writes, and the edge's what the
edge writes (`hints_rules`)?

If none of these explains a loss: are the links and routes of the nodes it passed what the parts of
their network plane want (`netlab.plane`)?

Without an answer there is no hint. A question that fails does not fail the check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netlab.dataplane import names
from netlab.dataplane.state import NamespaceState
from netlab.errors import KernelError
from netlab.kernel.door import Kernel
from netlab.plane import OVERLAY, View, parts
from netlab.probe.judge.hints_rules import RulesHints
from netlab.probe.plan.checks import Check, Kind, Visit
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.snapshot import Snapshot
from netlab.probe.run.observed import Observed
from netlab.probe.run.wire import Sighting

FORWARDING = "net/ipv4/ip_forward"
BRIDGED_RULES = "net/bridge/bridge-nf-call-iptables"
UNANSWERED = frozenset({"network unreachable", "host unreachable"})  # sent by routers on the way, not by the target
LOST = frozenset({Outcome.DROPPED, Outcome.UNREACHABLE})
BY_THE_MACHINE = LOST | {Outcome.NO_BUFFERS, Outcome.DNS_FAILED}


@dataclass(frozen=True)
class Loss:
    """A failed check, and the last sighting of what got lost: the packet, or its answer when there was one."""

    check: Check
    observed: Observed
    last: Sighting


class Hints:
    """Explains failed checks; reads the state of each node once per run."""

    def __init__(self, snapshot: Snapshot, kernel: Kernel, machine: tuple[str, ...] = ()) -> None:
        self._snapshot = snapshot
        self._kernel = kernel
        self._machine = machine  # what is wrong with it, as sentences
        self._states: dict[str, NamespaceState | None] = {}
        self._rules = RulesHints(snapshot, kernel)

    def of(self, check: Check, observed: Observed) -> tuple[str, ...]:
        """Return what explains a check's failure, as sentences."""
        passed = (check.source.node, *(sighting.namespace for sighting in observed.trail))
        machine = self._machine if observed.outcome in BY_THE_MACHINE else ()
        found = (*machine, *self._of_loss(check, observed), *self._rules.of(passed))
        if found or observed.outcome not in LOST:
            return found
        return tuple(sentence for node in dict.fromkeys(passed) for sentence in self._links(node))

    def _of_loss(self, check: Check, observed: Observed) -> tuple[str, ...]:
        if observed.outcome not in LOST or observed.lost_data or not observed.requests:
            return ()
        answers = tuple(s for s in observed.trail if s.packet.answer and s.packet.word not in UNANSWERED and not s.flooded)
        loss = Loss(check, observed, (answers or observed.requests)[-1])
        finders = (self._forwards, self._hairpins, self._tunnels, self._misdirected, self._routes, self._bridged)
        return tuple(sentence for find in finders for sentence in find(loss))

    def _state(self, node: str) -> NamespaceState:
        """Return what a node's kernel shows; nothing for a place that is not a node or does not answer."""
        if node not in self._states:
            path = names.namespace_path(names.host_namespace(self._snapshot.name, node))
            try:
                known = node in self._snapshot.addresses
                self._states[node] = self._kernel.observe(path, sysctls=(FORWARDING, BRIDGED_RULES)) if known else None
            except KernelError:
                self._states[node] = None
        return self._states[node] or NamespaceState()

    def _links(self, name: str) -> Iterator[str]:
        """Yield how a node's links and routes differ from what its agent makes."""
        nodes = self._snapshot.nodes
        own = next((node for node in nodes if node.metadata.name == name), None)
        state = self._state(name)
        if own is None or self._states[name] is None:
            return
        for part in parts(self._snapshot.lab):
            if part.keeper == OVERLAY:
                commands = part.wanted(View(own, nodes)).explain(state)
                if commands:
                    more = f" and {len(commands) - 1} more" if len(commands) > 1 else ""
                    repair = f"`{commands[0]}`{more} would repair it"
                    yield f"{part.name} of {name} differs from what its agent configures: {repair}"

    def _forwards(self, loss: Loss) -> Iterator[str]:
        node = loss.last.namespace
        if loss.last.direction == "in" and self._state(node).sysctls.get(FORWARDING) == "0":
            yield f"{node} does not forward packets: net.ipv4.ip_forward is 0"

    def _hairpins(self, loss: Loss) -> Iterator[str]:
        check, node = loss.check, loss.last.namespace
        device = next((s.device for s in loss.observed.requests if s.namespace == node), "")  # the first is the pod's port
        own = any(b.rpartition(":")[0] == check.source.address for b in check.expectation.backends)
        for link in self._state(node).links if own and check.source.kind is Kind.POD else ():
            if link.name == device and link.hairpin is False:
                yield (
                    f"hairpin mode is off on {device} of {node}: "
                    "the bridge does not send a frame back through the port it came from"
                )

    def _tunnels(self, loss: Loss) -> Iterator[str]:
        last, node = loss.last, loss.last.namespace
        target = self._snapshot.place_at(last.packet.destination).node
        if last.direction != "out" or not last.device.startswith("flannel") or target not in self._snapshot.addresses:
            return
        state, addresses = self._state(node), self._snapshot.addresses[target]
        macs = {n.mac for n in state.neighbours if n.device == last.device and n.address == addresses.overlay}
        real = {link.mac for link in self._state(target).links if link.name == last.device}
        if not macs:
            yield f"{node} has no neighbor entry for {addresses.overlay}, the overlay address of {target}"
        elif real and not macs & real:
            yield f"{node} maps {addresses.overlay} to MAC {_any(macs)}, but {last.device} of {target} has {_any(real)}"
        remotes = {f.remote for f in state.forwarding if f.mac in (macs & real or macs) and f.device == last.device}
        if macs and addresses.underlay not in remotes:
            sends = f"sends them to {_any(remotes)}" if remotes else "has no forwarding entry for them"
            yield f"frames for {target} must go to {addresses.underlay}; {last.device} of {node} {sends}"

    def _misdirected(self, loss: Loss) -> Iterator[str]:
        """Find a frame of the overlay that went to a node without the packet's destination."""
        nodes = {addresses.underlay: name for name, addresses in self._snapshot.addresses.items()}
        for sighting in loss.observed.trail:
            packet, outer = sighting.packet, sighting.packet.outer
            target = self._snapshot.place_at(packet.destination)
            if outer is None or target.kind is not Kind.POD or nodes.get(outer.destination) == target.node:
                continue
            yield (
                f"flannel.1 of {nodes.get(outer.source, outer.source)} sends frames for pods of {target.node} to"
                f" {outer.destination} ({nodes.get(outer.destination, 'not a node')})"
            )
            return

    def _routes(self, loss: Loss) -> Iterator[str]:
        """Find a packet for a pod that left its node by the default route, without VXLAN."""
        packet, target = loss.last.packet, self._snapshot.place_at(loss.last.packet.destination)
        bare = [s for s in loss.observed.trail if s.packet.answer == packet.answer and s.packet.outer is None]
        left = [
            s.namespace for s in bare if s.device == "eth0" and s.direction == "out" and s.namespace in self._snapshot.addresses
        ]
        if target.kind is not Kind.POD or not left or left[-1] == target.node:
            return
        state, node = self._state(left[-1]), left[-1]
        subnet = next((n.spec.pod_cidr for n in self._snapshot.nodes if n.metadata.name == target.node), "")
        down = next((link.name for link in state.links if link.name.startswith("flannel") and not link.up), "")
        if down:
            yield f"{down} of {node} is down, so its routes are gone"
        elif subnet not in {r.destination for r in state.routes}:
            yield f"{node} has no route to {subnet} (pods of {target.node}): the packet took the default route"

    def _bridged(self, loss: Loss) -> Iterator[str]:
        action, source, packet = loss.check.action, loss.check.source, loss.last.packet
        untranslated = isinstance(action, Visit) and packet.answer and packet.source != action.address
        if untranslated and loss.last.namespace == source.name and self._state(source.node).sysctls.get(BRIDGED_RULES) == "0":
            yield (
                f"the reply kept the source {packet.source}: the bridge of {source.node} passed it without the rules,"
                " because net.bridge.bridge-nf-call-iptables is 0"
            )


def _any(words: set[str] | set[str | None]) -> str:
    return ", ".join(sorted(filter(None, words)))
