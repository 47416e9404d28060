"""What one part of a node wants in its network namespace, and what of the namespace is its own.

A state has a base (a device, its address) and one fragment per object (the three entries of another
node), as a table of nft has (`netlab.netfilter.ruleset`). `netlab.kernel.states` leaves out a
fragment that the kernel refuses and keeps the others.

Several parts share a namespace, so a state also defines which observed items are its own (`owned`):
a device with all that is on it, or the routes to some networks. Items that are its own and not
wanted are deleted; all others stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from netlab.dataplane.diff import diff
from netlab.dataplane.state import Item, NamespaceState, Operation

Owned = Callable[[NamespaceState], NamespaceState]


@dataclass(frozen=True)
class OwnedState:
    """A wanted state: `base`, and what each object adds, by the object's name.

    `owned` narrows an observed state to what the part owns.
    """

    base: NamespaceState
    fragments: Mapping[str, NamespaceState]
    owned: Owned

    def without(self, names: Collection[str]) -> OwnedState:
        """Return the same without some fragments."""
        left = {name: part for name, part in self.fragments.items() if name not in names}
        return replace(self, fragments=left)

    @property
    def whole(self) -> NamespaceState:
        """Base and fragments as one state."""
        parts = [self.base, *self.fragments.values()]
        return NamespaceState(
            links=tuple(chain.from_iterable(part.links for part in parts)),
            addresses=tuple(chain.from_iterable(part.addresses for part in parts)),
            routes=tuple(chain.from_iterable(part.routes for part in parts)),
            neighbours=tuple(chain.from_iterable(part.neighbours for part in parts)),
            forwarding=tuple(chain.from_iterable(part.forwarding for part in parts)),
        )

    def difference(self, observed: NamespaceState) -> tuple[Operation, ...]:
        """Return the operations from observed to wanted; each prints as its command."""
        return diff(self.whole, self.owned(observed), lambda _: True)


def items(state: NamespaceState) -> tuple[Item, ...]:
    """Return all items of a state, each after those that it depends on (semantics 2.16)."""
    return (*state.links, *state.addresses, *state.neighbours, *state.forwarding, *state.routes)


def on_devices(names: Iterable[str], marks: Iterable[str]) -> Owned:
    """Own devices by name, those that were renamed by their ownership mark, and all that is on them."""
    wanted, aliases = frozenset(names), frozenset(marks)

    def owned(observed: NamespaceState) -> NamespaceState:
        links = tuple(x for x in observed.links if x.name in wanted or x.alias in aliases)
        devices = wanted | {link.name for link in links}
        return NamespaceState(
            links=links,
            addresses=tuple(item for item in observed.addresses if item.device in devices),
            routes=tuple(item for item in observed.routes if item.device in devices),
            neighbours=tuple(item for item in observed.neighbours if item.device in devices),
            forwarding=tuple(item for item in observed.forwarding if item.device in devices),
        )

    return owned
