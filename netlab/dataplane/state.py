"""What a network namespace holds, as values: links, addresses, routes, routing rules, neighbours, FDB entries, sysctls.

`NamespaceState` is used twice: as the state somebody wants and as the state the kernel shows. `diff()`
(in `netlab.dataplane.diff`) turns the two into an ordered list of `Operation`, which `netlab.kernel` performs.
Names and units are rtnetlink's: MTU in bytes, MAC as `aa:bb:cc:dd:ee:ff`, prefixes as `10.244.1.0/24`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from netlab.family import Family

MAIN_TABLE, LOCAL_TABLE, DEFAULT_TABLE = 254, 255, 253  # rtnetlink(7); the kernel fills `local` with a host's own addresses


@dataclass(frozen=True)
class Veth:
    """One end of a veth pair; the other end is made in `peer_namespace` (a path) in the same operation.

    The far end gets this end's MTU and stays down; its own namespace's state marks it (alias) and sets it up.
    Observed, the peer's name and namespace are unknown and left empty: only the kind is compared.
    """

    peer_name: str
    peer_namespace: str
    peer_mac: str = ""


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

    A field left at None is not compared and not set; `master=""` means "of no bridge". `alias` carries the ownership mark.
    `index` and `peer` are only observed: the kernel's numbers of a link and of the link that it leans on, which for one end
    of a veth pair is the other end (a number of that end's own namespace).
    """

    name: str
    kind: Veth | Bridge | Vxlan | None = None
    mac: str | None = None
    mtu: int | None = None
    up: bool = True
    master: str | None = None
    hairpin: bool | None = None
    alias: str | None = None
    index: int = field(default=0, compare=False)
    peer: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Address:
    """An address with its prefix length: `10.244.1.1/24` on `device`."""

    device: str
    address: str


@dataclass(frozen=True)
class Route:
    """A route. `destination` is a prefix; the default route is `0.0.0.0/0` or `::/0`.

    Routes with a metric are never shown. `connected` marks a route that the kernel makes itself with an address.
    """

    destination: str
    device: str = ""
    gateway: str = ""
    onlink: bool = False
    source: str = ""
    type: str = "unicast"  # or blackhole, unreachable, prohibit
    connected: bool = False
    table: int = MAIN_TABLE


@dataclass(frozen=True, order=True)
class Rule:
    """A rule of policy routing (ip-rule(8)): packets whose mark is `mark` under `mask` are looked up in `table`; mask 0: all.

    The kernel asks the rules in order of priority until one finds a route.
    """

    priority: int
    table: int
    mark: int = 0
    mask: int = 0


KERNEL_RULES = (Rule(0, LOCAL_TABLE), Rule(32766, MAIN_TABLE), Rule(32767, DEFAULT_TABLE))  # of a new namespace


@dataclass(frozen=True)
class Neighbour:
    """A permanent entry of the neighbor table (ARP with IPv4)."""

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
    """The state of one namespace; sysctls by path below /proc/sys, e.g. `net/ipv4/ip_forward`: `1`.

    `connected` is only observed: the routes that the kernel made with `addresses`. None: they were not looked at.
    `rules` are all rules of the namespace; None: as they are, or not looked at. With them go the routes of other tables.
    """

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    forwarding: tuple[ForwardingEntry, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    connected: tuple[Route, ...] | None = None
    rules: tuple[Rule, ...] | None = None


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


Item = Link | Address | Route | Rule | Neighbour | ForwardingEntry | Sysctl


@dataclass(frozen=True)
class Operation:
    """One step; `str()` gives it as the `ip`, `bridge` or `sysctl` command that would do the same."""

    verb: Verb
    item: Item

    def __str__(self) -> str:
        return _WORDS[type(self.item)](self.verb, self.item)


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _optional(word: str, value: object) -> str:
    return f"{word} {value}" if value not in {None, ""} else ""


def _namespace_word(path: str) -> str:
    return path.removeprefix("/run/netns/")


def _kind_words(kind: Veth | Bridge | Vxlan | None) -> str:
    match kind:
        case Veth():
            peer = _words(f"peer name {kind.peer_name}", _optional("address", kind.peer_mac))
            return f"type veth {peer} netns {_namespace_word(kind.peer_namespace)}"
        case Bridge():
            return "type bridge stp_state 0 forward_delay 0"
        case Vxlan():
            learning = "learning" if kind.learning else "nolearning"
            return f"type vxlan id {kind.vni} dstport {kind.port} local {kind.local} dev {kind.device} {learning}"
        case None:
            return ""


def _link_words(verb: Verb, link: Link) -> str:
    if verb is Verb.DELETE:
        return f"ip link delete dev {link.name}"
    attributes = _words(
        _optional("address", link.mac),
        _optional("mtu", link.mtu),
        "nomaster" if link.master == "" else _optional("master", link.master),
        _optional("alias", link.alias),
        "up" if link.up else "down",
    )
    kind = _kind_words(link.kind) if verb is Verb.ADD else ""
    command = _words("ip link", verb.value, "dev", link.name, attributes, kind)
    if link.hairpin is None:
        return command
    return f"{command}; bridge link set dev {link.name} hairpin {'on' if link.hairpin else 'off'}"


_REPLACE = {Verb.ADD: "add", Verb.SET: "replace", Verb.DELETE: "delete"}  # ip's word for an entry


def _address_words(verb: Verb, item: Address) -> str:
    return f"ip address {_REPLACE[verb]} {item.address} dev {item.device}"


def _route_words(verb: Verb, route: Route) -> str:
    return _words(
        "ip route",
        _REPLACE[verb],
        "" if route.type == "unicast" else route.type,
        "default" if route.destination == Family.IPV4.any else route.destination,
        _optional("via", route.gateway),
        _optional("dev", route.device),
        _optional("src", route.source),
        "onlink" if route.onlink else "",
        "proto kernel scope link" if route.connected else "",
        f"table {route.table}" if route.table != MAIN_TABLE else "",
    )


def _rule_words(verb: Verb, rule: Rule) -> str:
    mark = f"fwmark {rule.mark:#x}/{rule.mask:#x}" if rule.mask else ""
    return _words("ip rule", _REPLACE[verb], f"preference {rule.priority}", mark, f"lookup {rule.table}")


def _neighbour_words(verb: Verb, item: Neighbour) -> str:
    return f"ip neigh {_REPLACE[verb]} {item.address} lladdr {item.mac} dev {item.device} nud permanent"


def _forwarding_words(verb: Verb, item: ForwardingEntry) -> str:
    return f"bridge fdb {_REPLACE[verb]} {item.mac} dev {item.device} dst {item.remote} self permanent"


def _sysctl_words(_: Verb, item: Sysctl) -> str:
    return f"sysctl -w {item.path}={item.value!r}" if " " in item.value else f"sysctl -w {item.path}={item.value}"


_WORDS: dict[type[object], Callable[[Verb, Any], str]] = {
    Link: _link_words,
    Address: _address_words,
    Route: _route_words,
    Rule: _rule_words,
    Neighbour: _neighbour_words,
    ForwardingEntry: _forwarding_words,
    Sysctl: _sysctl_words,
}
