"""From what a namespace should hold and what it holds to the steps between: the level-triggered heart (principle 4).

Rules:
1. The caller says by `owns(link name)` for which links it answers. Only there are extra things deleted; whatever sits on
   other links is somebody else's. Items without a device (a blackhole route) are asked as `owns("")`. A link that has the
   alias (ownership mark) of a wanted one is that one, renamed by hand: it would be in the way, and is deleted, too.
2. Order: what is in the way goes first, dependants before what they lean on (routes, FDB, ARP, addresses, links); then
   settings, links (bridges before their ports, VXLAN last), addresses, ARP, FDB, routes: flannel's order (semantics 2.16, 2.18).
   Routing rules come last, new ones before those that go: there is no moment without a way to the `local` table.
3. A link that cannot be changed into the wanted one is deleted and made again (semantics 2.21).
4. What the kernel does by itself is foreseen, or the second run would find work:
   - a link takes everything on it along; the loss of a bridge frees its ports; a VXLAN goes with its device;
   - the last address of a device takes its routes and ARP entries, the first of a subnet its secondaries: they are set again;
   - a changed MAC empties the device's ARP table, permanent entries included.
5. `lo` and its own address are never deleted, even by who owns `lo` (the edge, for its load balancer addresses).
6. The route to an address's own subnet is the kernel's work, done once, when address and link come up together. If it is
   gone while both are there (`ip route flush table main`), it is put back as the kernel would have made it. A route
   without device that has taken its place (`ip route replace blackhole`) is deleted.
7. A second run does nothing: diff(desired, observed after perform) == ().
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import TypeVar

from netlab.dataplane.state import (
    Address,
    Bridge,
    ForwardingEntry,
    Item,
    Link,
    NamespaceState,
    Neighbour,
    Operation,
    Route,
    Rule,
    Sysctl,
    Verb,
    Veth,
    Vxlan,
)
from netlab.family import FAMILIES

Entry = TypeVar("Entry", Address, Route, Neighbour, ForwardingEntry)
LOOPBACK = "lo"
LOOPBACK_ADDRESSES = frozenset(family.loopback_address for family in FAMILIES)
_LINK_ORDER: dict[type[object], int] = {type(None): 0, Bridge: 1, Veth: 2, Vxlan: 3}  # each leans on those before it


@dataclass(frozen=True)
class _LinkPlan:
    """What happens to links, and which names that leaves without the things that were on them."""

    delete: tuple[Link, ...]
    add: tuple[Link, ...]
    change: tuple[Link, ...]

    @property
    def gone(self) -> frozenset[str]:
        return frozenset(link.name for link in self.delete)

    @property
    def new(self) -> frozenset[str]:
        return frozenset(link.name for link in self.add)

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(link.name for link in self.change)

    @property
    def new_mac(self) -> frozenset[str]:
        return frozenset(link.name for link in self.change if link.mac is not None)


def diff(desired: NamespaceState, observed: NamespaceState, owns: Callable[[str], bool]) -> tuple[Operation, ...]:
    """Return the ordered operations that turn `observed` into `desired`; () when there is nothing to do."""
    plan = _plan_links(desired, observed, owns)
    extra = NamespaceState(
        routes=_extra(desired.routes, observed.routes, plan, owns, _by_table),
        forwarding=_extra(desired.forwarding, observed.forwarding, plan, owns, lambda e: (e.device, e.mac)),
        neighbours=_extra(desired.neighbours, observed.neighbours, plan, owns, lambda n: (n.device, n.address)),
        addresses=tuple(
            a
            for a in _extra(desired.addresses, observed.addresses, plan, owns, lambda a: a)
            if a.device != LOOPBACK or a.address not in LOOPBACK_ADDRESSES
        ),
    )
    kept = _survivors(observed, extra, plan)
    early, late = _sysctls(desired, observed, plan)
    deletions: tuple[Item, ...] = (*extra.routes, *extra.forwarding, *extra.neighbours, *extra.addresses, *plan.delete)
    return (
        *(Operation(Verb.DELETE, item) for item in deletions),
        *early,
        *_make_links(plan),
        *late,
        *_entries(desired.addresses, kept.addresses, lambda a: a),
        *_entries(desired.neighbours, kept.neighbours, lambda n: (n.device, n.address)),
        *_entries(desired.forwarding, kept.forwarding, lambda e: (e.device, e.mac)),
        *_lost_connected(desired, kept, plan, extra),
        *_entries(desired.routes, kept.routes, _by_table),
        *_rules(desired.rules, observed.rules),
    )


# ---- links
def _plan_links(desired: NamespaceState, observed: NamespaceState, owns: Callable[[str], bool]) -> _LinkPlan:
    wanted = {link.name: link for link in desired.links}
    present = {link.name: link for link in observed.links}
    marks = {link.alias for link in desired.links if link.alias}
    extra = {name: link for name, link in present.items() if name not in wanted and name != LOOPBACK}
    lost = {name for name, link in extra.items() if owns(name) or link.alias in marks}
    lost |= {name for name, link in wanted.items() if name in present and not _compatible(link, present[name])}
    lost |= {link.name for link in present.values() if isinstance(link.kind, Vxlan) and link.kind.device in lost}
    changes = (_change(wanted[name], present.get(name), lost) for name in wanted if not _to_add(wanted[name], present, lost))
    return _LinkPlan(
        delete=tuple(link for link in observed.links if link.name in lost),
        add=tuple(link for link in desired.links if _to_add(link, present, lost)),
        change=tuple(change for change in changes if change is not None),
    )


def _to_add(link: Link, present: dict[str, Link], lost: set[str]) -> bool:
    return link.kind is not None and (link.name not in present or link.name in lost)


def _compatible(wanted: Link, present: Link) -> bool:
    """Tell whether attributes alone can make `present` into `wanted`; a veth's peer cannot be seen from here."""
    if wanted.kind is None:
        return True
    if isinstance(wanted.kind, Vxlan):
        return wanted.kind == present.kind
    return type(wanted.kind) is type(present.kind)


def _change(wanted: Link, present: Link | None, lost: set[str]) -> Link | None:
    """Return a link with just the attributes to set, None when all are right.

    A missing link that nobody here can make (a veth's far end) is set in full: the kernel then says that it is missing.
    """
    if present is None:
        return wanted
    enslave = wanted.master is not None and (wanted.master != present.master or wanted.master in lost)
    change = Link(
        name=wanted.name,
        mac=_unless_equal(wanted.mac and wanted.mac.lower(), present.mac),
        mtu=_unless_equal(wanted.mtu, present.mtu),
        up=wanted.up,
        master=wanted.master if enslave else None,
        hairpin=wanted.hairpin if enslave else _unless_equal(wanted.hairpin, present.hairpin),
        alias=_unless_equal(wanted.alias, present.alias),
    )
    return None if change == Link(wanted.name, up=present.up) else change


Value = TypeVar("Value", str, int, bool)


def _unless_equal(wanted: Value | None, present: Value | None) -> Value | None:
    return None if wanted is None or wanted == present else wanted


def _make_links(plan: _LinkPlan) -> Iterator[Operation]:
    """Yield additions and changes in the order of what leans on what; a change of a port comes after its new bridge."""
    steps = [(_LINK_ORDER[type(link.kind)], Operation(Verb.ADD, link)) for link in plan.add]
    steps += [(2 if link.master else 0, Operation(Verb.SET, link)) for link in plan.change]
    return (operation for _, operation in sorted(steps, key=lambda step: step[0]))


# ---- entries
def _extra(
    desired: Iterable[Entry],
    observed: Iterable[Entry],
    plan: _LinkPlan,
    owns: Callable[[str], bool],
    key: Callable[[Entry], Hashable],
) -> tuple[Entry, ...]:
    """Return the owned entries nobody wants. Those of links on their way out go with them."""
    wanted = {key(entry) for entry in desired}
    return tuple(e for e in observed if key(e) not in wanted and e.device not in plan.gone and owns(e.device))


def _survivors(observed: NamespaceState, extra: NamespaceState, plan: _LinkPlan) -> NamespaceState:
    """Return what is left of the observed entries after the deletions and what the kernel does on their account."""
    touched = {address.device for address in extra.addresses}
    return replace(
        observed,
        addresses=tuple(a for a in observed.addresses if a.device not in plan.gone and not _secondary(a, extra.addresses)),
        neighbours=tuple(n for n in observed.neighbours if n.device not in plan.gone | plan.new_mac | touched),
        forwarding=tuple(e for e in observed.forwarding if e.device not in plan.gone),
        routes=tuple(r for r in observed.routes if r.device not in plan.gone | touched),
    )


def _secondary(address: Address, deleted: Sequence[Address]) -> bool:
    """Tell whether the kernel may drop this address with one of those deleted: same device, same subnet."""
    network = ip_interface(address.address).network
    return any(d.device == address.device and ip_interface(d.address).network == network for d in deleted)


def _entries(desired: Iterable[Entry], kept: Iterable[Entry], key: Callable[[Entry], Hashable]) -> Iterator[Operation]:
    present = {key(entry): entry for entry in kept}
    for entry in desired:
        if present.get(key(entry)) != entry:
            yield Operation(Verb.SET, entry)


def _by_table(route: Route) -> Hashable:
    return route.table, route.destination


def _rules(desired: Sequence[Rule] | None, observed: Sequence[Rule] | None) -> Iterator[Operation]:
    """Yield what makes the rules those wanted: the list is its owner's as a whole."""
    if desired is not None and observed is not None:
        yield from (Operation(Verb.ADD, rule) for rule in desired if rule not in observed)
        yield from (Operation(Verb.DELETE, rule) for rule in observed if rule not in desired)


def _lost_connected(
    desired: NamespaceState, kept: NamespaceState, plan: _LinkPlan, deleted: NamespaceState
) -> Iterator[Operation]:
    """Yield the connected routes that are missing though their address is there, on a link that has been up all along."""
    if kept.connected is None:
        return
    up = {link.name for link in kept.links if link.up} - plan.gone - {LOOPBACK}
    present = {(route.destination, route.device) for route in kept.connected}
    for address in desired.addresses:
        interface = ip_interface(address.address)
        key = (str(interface.network), address.device)
        alive = address in kept.addresses and address.device in up
        if interface.network.num_addresses > 1 and alive and key not in present:
            present.add(key)  # a second address of the subnet has no route of its own
            in_the_way = (r for r in kept.routes if r.destination == key[0] and not r.device and r not in deleted.routes)
            yield from (Operation(Verb.DELETE, route) for route in in_the_way)
            yield Operation(Verb.SET, Route(*key, source=str(interface.ip), connected=True))


# ---- settings
def _sysctls(desired: NamespaceState, observed: NamespaceState, plan: _LinkPlan) -> tuple[list[Operation], list[Operation]]:
    """Return the settings to write before links are made (which inherit them), and those of links made or changed.

    A link just made has the kernel's defaults, whatever was observed. One with a changed MTU may have lost its settings:
    below 1280 bytes a device has no IPv6, and no folder for it. A link that is not there and not stated has none.
    """
    there = {link.name for link in (*desired.links, *observed.links)} | {"all", "default"}
    early: list[Operation] = []
    late: list[Operation] = []
    for path, value in desired.sysctls.items():
        words = path.split("/")
        if words[2:3] == ["conf"] and words[3] not in there:
            continue
        if not plan.new.isdisjoint(words):
            late.append(Operation(Verb.SET, Sysctl(path, value)))
        elif observed.sysctls.get(path) != value:
            (late if not plan.changed.isdisjoint(words) else early).append(Operation(Verb.SET, Sysctl(path, value)))
    return early, late
