"""Allocation of Service addresses and node ports (semantics 4.1 to 4.5, 4.20).

An Allocator is a range of whole numbers with a static band at its bottom: users who ask for a number choose there,
automatic numbers come from above it and from the band only when nothing else is left. Kubernetes starts at a random
number; netlab starts at a digest of the Service's name and goes up from there, so the same topology has the same
addresses every time (principle 6). A Service that is deleted and made again is a new one: it starts at the digest of
its name and of how often that name was deleted, and does not get the numbers that it had last (semantics 4.22).

Choosing and holding are apart: `choose` changes nothing, `Holdings.update` records what a committed object holds. So a
dry run, or a write refused later, consumes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network


@dataclass(frozen=True)
class Band:
    """Numbers `first` to `last`; below `dynamic` lie those kept for explicit requests."""

    first: int
    last: int
    dynamic: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def candidates(self, seed: str) -> Iterator[int]:
        """Yield every number once, in the order in which a Service of that name tries them."""
        size = self.last - self.dynamic + 1
        start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") % size
        for offset in range(size):
            yield self.dynamic + (start + offset) % size
        yield from range(self.first, self.dynamic)

    def choose(self, seed: str, is_free: Callable[[int], bool], avoided: Collection[int] = ()) -> int | None:
        """Return the first free number for a Service of that name, None when all are held.

        A number that is `avoided` is taken only when no other is free.
        """
        free = (number for number in self.candidates(seed) if is_free(number))
        return next((n for n in free if n not in avoided), None) or next(filter(is_free, avoided), None)


def static_band(size: int, *, divisor: int, most: int) -> int:
    """Return how many numbers at the bottom are kept: min(max(16, size/divisor), most), none of a tiny range."""
    return min(max(16, size // divisor), most) if size > 16 else 0


def address_band(subnet: IPv4Network) -> Band:
    """Return the Service addresses of a subnet, without network and broadcast address (semantics 4.3)."""
    first, last = int(subnet.network_address) + 1, int(subnet.broadcast_address) - 1
    return Band(first, last, first + static_band(last - first + 1, divisor=16, most=256))


def node_port_band(text: str) -> Band:
    """Return the node ports of a range such as `30000-32767` (semantics 4.4)."""
    first, last = (int(part) for part in text.split("-"))
    return Band(first, last, first + static_band(last - first + 1, divisor=32, most=128))


PortKey = tuple[int, str]  # the same number may be held for TCP and for UDP (semantics 4.5)


@dataclass(frozen=True)
class Claims:
    """What one Service holds, or wants to hold."""

    addresses: frozenset[int] = frozenset()
    ports: frozenset[PortKey] = frozenset()


@dataclass(frozen=True)
class Past:
    """The history of the Services of one name: how many were deleted, and what the last of them held."""

    deleted: int = 0
    last: Claims = Claims()


@dataclass
class Former:
    """The pasts of the names that were deleted most recently, `limit` at most; a new daemon begins without any."""

    limit: int = 2048
    pasts: dict[str, Past] = field(default_factory=dict)

    def of(self, service: str) -> Past:
        """Return the past of a name."""
        return self.pasts.get(service, Past())

    def end(self, service: str, claims: Claims) -> None:
        """Record the deletion of a Service."""
        self.pasts[service] = Past(self.pasts.pop(service, Past()).deleted + 1, claims)
        if len(self.pasts) > self.limit:
            del self.pasts[next(iter(self.pasts))]

    def seed(self, service: str) -> str:
        """Return what the numbers of a Service are chosen by: its name, and from its second life on which one it is."""
        past = self.of(service)
        return f"{service}#{past.deleted}" if past.deleted else service


@dataclass
class Holdings:
    """Every address and node port in use, with the Service (`namespace/name`) that holds it."""

    reserved: Mapping[int, str] = field(default_factory=dict)  # addresses that only this Service may take
    addresses: dict[int, str] = field(default_factory=dict)
    ports: dict[PortKey, str] = field(default_factory=dict)
    claims: dict[str, Claims] = field(default_factory=dict)
    former: Former = field(default_factory=Former)

    def address_holder(self, address: int) -> str:
        """Return the holder of an address, empty when it is free."""
        return self.addresses.get(address) or self.reserved.get(address, "")

    def update(self, service: str, claims: Claims) -> None:
        """Record what a Service holds from now on; what it held before and no longer does is free."""
        before = self.claims.pop(service, Claims())
        for address in before.addresses - claims.addresses:
            del self.addresses[address]
        for port in before.ports - claims.ports:
            del self.ports[port]
        if claims == Claims():
            return
        self.claims[service] = claims
        self.addresses.update(dict.fromkeys(claims.addresses, service))
        self.ports.update(dict.fromkeys(claims.ports, service))

    def delete(self, service: str) -> None:
        """Free everything that a deleted Service held."""
        self.former.end(service, self.claims.get(service, Claims()))
        self.update(service, Claims())


def address_text(number: int) -> str:
    """Return an address as it is written."""
    return str(IPv4Address(number))
