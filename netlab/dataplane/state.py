"""What a network namespace holds, as values: links, addresses, routes, neighbours, FDB entries, sysctls.

`NamespaceState` is used twice: as the state somebody wants and as the state the kernel shows. `diff()`
(in `netlab.dataplane.diff`) turns the two into an ordered list of `Operation`, which `netlab.kernel` performs.
Names and units are rtnetlink's: MTU in bytes, MAC as `aa:bb:cc:dd:ee:ff`, prefixes as `10.244.1.0/24`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Veth:
    """One end of a veth pair; the other end is made in `peer_namespace` (a path) in the same operation."""

    peer_name: str
    peer_namespace: str
    peer_mac: str = ""
    peer_alias: str = ""


@dataclass(frozen=True)
class Bridge:
    """A Linux bridge, spanning tree off, forward delay 0."""


@dataclass(frozen=True)
class Vxlan:
    """A VXLAN device as flannel makes it (semantics 2.13): unicast, nolearning, fixed local address."""

    vni: int
    port: int
    local: str
    device: str
    learning: bool = False


@dataclass(frozen=True)
class Link:
    """A network device. `kind` is None where it exists anyway (`lo`) or is a veth's far end made by its peer.

    A field left at None is not compared and not set. `alias` carries the ownership mark.
    """

    name: str
    kind: Veth | Bridge | Vxlan | None = None
    mac: str | None = None
    mtu: int | None = None
    up: bool = True
    master: str | None = None
    hairpin: bool | None = None
    alias: str | None = None


@dataclass(frozen=True)
class Address:
    """An IPv4 address with its prefix length: `10.244.1.1/24` on `device`."""

    device: str
    address: str


@dataclass(frozen=True)
class Route:
    """A route of the main table. `destination` is a prefix; the default route is `0.0.0.0/0`."""

    destination: str
    device: str = ""
    gateway: str = ""
    onlink: bool = False
    source: str = ""
    type: str = "unicast"  # or blackhole, unreachable, prohibit


@dataclass(frozen=True)
class Neighbour:
    """A permanent ARP entry."""

    device: str
    address: str
    mac: str


@dataclass(frozen=True)
class ForwardingEntry:
    """A permanent entry of a VXLAN device's forwarding database: frames for `mac` go to the VTEP `remote`."""

    device: str
    mac: str
    remote: str


@dataclass(frozen=True)
class NamespaceState:
    """The state of one namespace; sysctls by path below /proc/sys, e.g. `net/ipv4/ip_forward`: `1`."""

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    forwarding: tuple[ForwardingEntry, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)


class Verb(Enum):
    """What to do with an item. `SET` changes attributes of a link that is there, or adds or replaces an entry."""

    ADD = "add"
    SET = "set"
    DELETE = "delete"


@dataclass(frozen=True)
class Sysctl:
    """One kernel setting of a namespace."""

    path: str
    value: str


Item = Link | Address | Route | Neighbour | ForwardingEntry | Sysctl


@dataclass(frozen=True)
class Operation:
    """One step; `str()` gives it as the `ip`, `bridge` or `sysctl` command that would do the same."""

    verb: Verb
    item: Item
