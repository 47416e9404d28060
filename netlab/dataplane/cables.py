"""Veth pairs whose ends are not where they belong (pure).

Theory. A pair is made from its near end (a bridge's port), which names the far end and its namespace. `diff` then compares
each namespace alone, so it takes a near end that is there for a cable that is whole. Three things break that:

- The far end's namespace was removed while a process or a socket still holds it. A new one has the name, but the cable ends
  in the old one.
- Somebody renamed an end or moved it into another namespace.
- The same with the near end: its namespace is a new one, and the far end is still the old cable's.

Two links are the ends of one pair if each states the other's index (and each is a veth). What is left of a pair that is not
whole is deleted: that takes the other end along, wherever it is and whatever it is called. Then `diff` makes the pair again.

A link of the far end's name that netlab did not make is left alone: it has neither netlab's mark as its alias nor the MAC
address that the cable's end was born with. Making the cable is then refused by the kernel ("File exists").
"""

from __future__ import annotations

from collections.abc import Mapping

from netlab.dataplane.names import MARK
from netlab.dataplane.state import Link, NamespaceState, Operation, Verb, Veth

Deletions = Mapping[str, tuple[Operation, ...]]


def severed(near: str, wanted: NamespaceState, observed: Mapping[str, NamespaceState]) -> Deletions:
    """Return, by namespace, what to delete of the wanted pairs that are not whole.

    `near` is the namespace of `wanted`, which names the near ends; `observed` holds it and those far ones to be looked at.
    """
    found: dict[str, list[Link]] = {}
    ends = {path: {link.name: link for link in state.links} for path, state in observed.items()}
    for link in wanted.links:
        if not isinstance(link.kind, Veth) or link.kind.peer_namespace not in ends:
            continue
        here, there = ends[near].get(link.name), ends[link.kind.peer_namespace].get(link.kind.peer_name)
        if here and there and _paired(here, there):
            continue
        if here and isinstance(here.kind, Veth):
            found.setdefault(near, []).append(here)
        if there and isinstance(there.kind, Veth) and _is_ours(there, link.kind):
            found.setdefault(link.kind.peer_namespace, []).append(there)
    return {path: tuple(Operation(Verb.DELETE, link) for link in links) for path, links in found.items()}


def _paired(one: Link, other: Link) -> bool:
    return isinstance(one.kind, Veth) and isinstance(other.kind, Veth) and (one.peer, other.peer) == (other.index, one.index)


def _is_ours(link: Link, made_as: Veth) -> bool:
    return (link.alias or "").startswith(MARK) or bool(made_as.peer_mac and link.mac == made_as.peer_mac.lower())
