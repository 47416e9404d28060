"""The kernel for tests: the same contract as `linux.LinuxKernel`, in dictionaries. No privilege, no effect.

It keeps what the kernel would keep and does by itself what the kernel does by itself: a veth's ends come and go together,
a link takes its entries along, a bridge's end frees its ports, a new MAC empties the ARP table. It refuses with the same
KernelErrors. The fixture `kernel` of tests/netns runs the same cases against both.

For assertions: `performed` and `scripts` list what was asked, in order; `flows` holds conntrack entries by namespace;
`occupants` is what another process has put at a path.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from netlab.dataplane.flows import Flow, FlowFilter
from netlab.dataplane.state import (
    KERNEL_RULES,
    MAIN_TABLE,
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
from netlab.errors import KernelError
from netlab.kernel.door import DRAFT_COMMITS, NeighbourTable, Occupant
from netlab.kernel.fake_nft import FakeNft, RefusedError
from netlab.kernel.refusal import ABSENT, no_namespace, refused
from netlab.netfilter.listing import Listing

_LOOPBACK = Link("lo", mac="00:00:00:00:00:00", mtu=65536, master="", alias="")
_DEFAULT_MAC = "02:00:00:00:00:00"
_Entry = Address | Route | Neighbour | ForwardingEntry
_Key = tuple[str, ...]


class FakeMonitor:
    """Receives the operations of one namespace."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._devices: set[str] = set()

    def fileno(self) -> int:
        """Return a descriptor that is readable when something has changed."""
        return self._descriptor

    def read(self) -> frozenset[str]:
        """Return the devices that it happened to since the last call."""
        if self._devices:
            os.eventfd_read(self._descriptor)
        devices, self._devices = frozenset(self._devices), set()
        return devices

    def close(self) -> None:
        """Stop listening."""
        os.close(self._descriptor)

    def tell(self, item: Item) -> None:
        """Take note of an operation on an item."""
        device = item.name if isinstance(item, Link) else item.device if isinstance(item, Address | Route) else ""
        if device:
            self._devices.add(device)
            os.eventfd_write(self._descriptor, 1)


@dataclass
class _Namespace:
    links: dict[str, Link] = field(default_factory=lambda: {"lo": _LOOPBACK})
    peers: dict[str, tuple[str, str]] = field(default_factory=dict)  # veth -> (namespace, name) of the other end
    indices: dict[str, int] = field(default_factory=dict)  # the kernel's number of a link, the next free one
    entries: dict[_Key, _Entry] = field(default_factory=lambda: {("Address", "lo", "127.0.0.1/8"): Address("lo", "127.0.0.1/8")})
    rules: set[Rule] = field(default_factory=lambda: set(KERNEL_RULES))
    sysctls: dict[str, str] = field(default_factory=dict)
    nft: FakeNft = field(default_factory=FakeNft)
    monitors: list[FakeMonitor] = field(default_factory=list)

    def of(self, kind: type[_Entry]) -> list[_Entry]:
        """Return the entries of one kind."""
        return [entry for entry in self.entries.values() if isinstance(entry, kind)]

    def setting(self, path: str) -> str | None:
        """Return a setting: that of a link is inherited unless set, as the kernel does when the link is made."""
        *folder, link, name = path.split("/")
        if path in self.sysctls or folder != ["net", "ipv4", "conf"] or link not in self.links:
            return self.sysctls.get(path)
        return self.sysctls.get("net/ipv4/ip_forward" if name == "forwarding" else f"net/ipv4/conf/default/{name}")

    def index(self, name: str) -> int:
        """Return the number of a link."""
        return self.indices.setdefault(name, max(self.indices.values(), default=0) + 1)

    def forget(self, device: str, kinds: tuple[type[_Entry], ...]) -> None:
        """Drop a device's entries of some kinds."""
        self.entries = {k: e for k, e in self.entries.items() if not (e.device == device and isinstance(e, kinds))}


class FakeKernel:
    """Namespaces, links, rules and flows in memory."""

    def __init__(self) -> None:
        self._namespaces: dict[str, _Namespace] = {}
        self._sources: dict[str, str] = {}  # name -> what it was bound from
        self.performed: list[tuple[str, Operation]] = []
        self.scripts: list[tuple[str, str]] = []
        self.flows: dict[str, list[Flow]] = {}
        self.occupants: dict[str, Occupant] = {}
        self.source_ports: dict[tuple[str, str], frozenset[int]] = {}
        self.learned: dict[str, set[str]] = {}  # the addresses of learned neighbor entries, by namespace
        self.table = NeighbourTable()

    # ---- namespaces
    def create_namespaces(self, paths: Sequence[str]) -> None:
        """Make named network namespaces (with `lo` up). One that exists is left as it is."""
        for path in paths:
            self._namespaces.setdefault(path, _Namespace())

    def delete_namespaces(self, paths: Sequence[str]) -> None:
        """Remove named namespaces, and the far ends of their veth pairs with them."""
        for path in paths:
            if self.occupant(path) is Occupant.OTHER:
                continue
            for name in list(self._namespaces[path].links) if path in self._namespaces else ():
                self._remove_link(path, name)
            self._namespaces.pop(path, None)
            self.flows.pop(path, None)
            self._sources.pop(path, None)

    def bind_namespaces(self, sources: Mapping[str, str]) -> tuple[str, ...]:
        """Give names to namespaces that another process made; return the names given now."""
        stale = tuple(path for path, source in sources.items() if self._sources.get(path) != source)
        self.delete_namespaces(stale)
        self.create_namespaces(stale)
        self._sources.update({path: sources[path] for path in stale})
        return stale

    def namespace_exists(self, path: str) -> bool:
        """Return whether `path` is a live network namespace."""
        return path in self._namespaces

    def occupant(self, path: str) -> Occupant:
        """Return what is found at `path`: what a test has put into `occupants`, or what the kernel was asked for."""
        return self.occupants.get(path, Occupant.NAMESPACE if path in self._namespaces else Occupant.NOTHING)

    @contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """Check that the namespace exists; the caller manages its sockets."""
        self._namespace(path)
        yield

    def _namespace(self, path: str) -> _Namespace:
        if path not in self._namespaces:
            raise no_namespace(path, errno.ENOENT)
        return self._namespaces[path]

    # ---- links and entries
    @contextmanager
    def scratch(self) -> Iterator[str]:
        """Make a namespace for a `with` block."""
        path = "scratch"
        self._namespaces[path] = _Namespace()
        try:
            yield path
        finally:
            del self._namespaces[path]

    def observe(self, path: str, *, sysctls: Sequence[str] = (), policy: bool = False) -> NamespaceState:
        """Return the state of a namespace; of sysctls only those named, of policy routing only where asked."""
        found = self._namespace(path)
        tables = {MAIN_TABLE, *(rule.table for rule in found.rules if policy)}
        routes = [e for e in found.entries.values() if isinstance(e, Route) and e.table in tables]
        return NamespaceState(
            links=tuple(self._observed(found, link) for link in found.links.values()),
            addresses=tuple(e for e in found.entries.values() if isinstance(e, Address)),
            routes=tuple(route for route in routes if not route.connected),
            connected=tuple(route for route in routes if route.connected),
            rules=tuple(sorted(found.rules)) if policy else None,
            neighbours=tuple(e for e in found.entries.values() if isinstance(e, Neighbour)),
            forwarding=tuple(e for e in found.entries.values() if isinstance(e, ForwardingEntry)),
            sysctls={name: value for name in sysctls if (value := found.setting(name)) is not None},
        )

    def _observed(self, found: _Namespace, link: Link) -> Link:
        if link.name not in found.peers:
            return replace(link, index=found.index(link.name))
        path, name = found.peers[link.name]
        return replace(link, kind=Veth("", ""), index=found.index(link.name), peer=self._namespaces[path].index(name))

    def monitor(self, path: str) -> FakeMonitor:
        """Return a receiver of the changes of a namespace from now on, one's own included."""
        monitor = FakeMonitor()
        self._namespace(path).monitors.append(monitor)
        return monitor

    def perform(self, path: str, operations: Sequence[Operation]) -> None:
        """Do the operations in order; raises KernelError naming the first that was refused."""
        found = self._namespace(path) if operations else _Namespace()
        for operation in operations:
            number = self._apply(path, found, operation)
            if number and not (operation.verb is Verb.DELETE and number in ABSENT):
                raise refused(path, operation, number)
            self.performed.append((path, operation))
            for monitor in found.monitors:
                monitor.tell(operation.item)

    def _apply(self, path: str, found: _Namespace, operation: Operation) -> int:
        """Do one operation; return the error number, 0 when it is done."""
        verb, item = operation.verb, operation.item
        if isinstance(item, Sysctl):
            found.sysctls[item.path] = " ".join(item.value.split())
            return 0
        if isinstance(item, Rule):
            return _apply_rule(found, verb, item)
        if isinstance(item, Link):
            return self._apply_link(path, found, verb, item)
        return _apply_entry(found, verb, item)

    def _apply_link(self, path: str, found: _Namespace, verb: Verb, link: Link) -> int:
        create, present = verb is Verb.ADD and link.kind is not None, link.name in found.links
        if create and present:
            return errno.EEXIST
        if not create and not present:
            return errno.ENODEV
        if verb is Verb.DELETE:
            return self._remove_link(path, link.name)
        if link.master and link.master not in found.links:
            return errno.ENODEV
        return self._add_link(path, found, link) if create else _change_link(found, link)

    def _add_link(self, path: str, found: _Namespace, link: Link) -> int:
        kind = link.kind
        if isinstance(kind, Vxlan) and kind.device not in found.links:
            return errno.ENODEV
        if isinstance(kind, Veth):
            other = self._namespaces.get(kind.peer_namespace or path)
            if other is None:
                return errno.ENOENT
            if kind.peer_name in other.links:
                return errno.EEXIST
            peer = Link(kind.peer_name, mac=kind.peer_mac or _DEFAULT_MAC, mtu=link.mtu or 1500, up=False, master="", alias="")
            other.links[kind.peer_name] = peer
            other.peers[kind.peer_name] = (path, link.name)
            found.peers[link.name] = (kind.peer_namespace or path, kind.peer_name)
        whole = replace(
            link, mac=link.mac or _DEFAULT_MAC, mtu=link.mtu or 1500, master=link.master or "", alias=link.alias or ""
        )
        found.links[link.name] = _as_port(whole, joined=True, hairpin=link.hairpin)
        return 0

    def _remove_link(self, path: str, name: str) -> int:
        """Take a link away with its entries, its far end, and the devices upon it; free its ports."""
        found = self._namespaces[path]
        link = found.links.pop(name, None)
        if link is None:
            return errno.ENODEV
        found.forget(name, (Address, Route, Neighbour, ForwardingEntry))
        found.indices.pop(name, None)
        other = found.peers.pop(name, None)
        if other and other[0] in self._namespaces:
            self._remove_link(*other)
        for upper in list(found.links.values()):
            if isinstance(upper.kind, Vxlan) and upper.kind.device == name:
                self._remove_link(path, upper.name)
            elif isinstance(link.kind, Bridge) and upper.master == name:
                found.links[upper.name] = replace(upper, master="", hairpin=None)
        return 0

    # ---- rules and flows
    def nft(self, path: str, script: str) -> None:
        """Run one nft transaction: all of it or nothing."""
        self._run_nft(self._namespace(path).nft, script, f"namespace {path}")
        self.scripts.append((path, script))

    def _run_nft(self, nft: FakeNft, script: str, where: str) -> None:
        try:
            nft.run(script)
        except RefusedError as error:
            words = error.words or f"Could not process rule: {os.strerror(error.number)}"
            raise KernelError(f"nft refused a script in {where} at `{error.line}`: {words}.", errno=error.number) from error

    def nft_list(self, path: str, family: str, table: str) -> Listing:
        """Return a table as it is, `exists=False` when there is none."""
        return self._namespace(path).nft.listing(family, table)

    def nft_canonical(self, path: str, contents: str, family: str, table: str) -> Listing:
        """Return how a table with these contents would be listed."""
        draft = FakeNft()
        self._run_nft(draft, f"add table {family} {table}\n{contents}", f"namespace {path}")
        self._namespace(path).nft.generation += DRAFT_COMMITS
        return draft.listing(family, table)

    def nft_generation(self, path: str) -> int:
        """Return the ruleset's generation."""
        return self._namespace(path).nft.generation

    def delete_flows(self, path: str, filters: Sequence[FlowFilter]) -> int:
        """Delete the entries of `flows[path]` that match any filter and return how many."""
        self._namespace(path)
        flows = self.flows.get(path, [])
        kept = [flow for flow in flows if not any(wanted.matches(flow) for wanted in filters)]
        self.flows[path] = kept
        return len(flows) - len(kept)

    def tracked_ports(self, path: str, protocol: str) -> frozenset[int]:
        """Return the ports of `source_ports[path, protocol]`."""
        self._namespace(path)
        return self.source_ports.get((path, protocol), frozenset())

    def neighbour_table(self) -> NeighbourTable:
        """Return `table`."""
        return self.table

    def forget_neighbours(self, path: str, addresses: Collection[str]) -> int:
        """Take these addresses out of `learned[path]` and return how many there were."""
        self._namespace(path)
        found = self.learned.get(path, set())
        forgotten = found.intersection(addresses)
        found -= forgotten
        return len(forgotten)


def _change_link(found: _Namespace, link: Link) -> int:
    present = found.links[link.name]
    if link.mac not in {None, present.mac}:
        found.forget(link.name, (Neighbour,))
    if not link.up:
        found.forget(link.name, (Neighbour, Route))
    given = {f.name: getattr(link, f.name) for f in fields(link) if f.name != "kind"}
    changed = replace(present, **{name: value for name, value in given.items() if value is not None})
    found.links[link.name] = _as_port(changed, joined=changed.master != present.master, hairpin=link.hairpin)
    if changed.up and not present.up:
        for address in found.of(Address):
            _connect(found, address)
    return 0


def _as_port(link: Link, *, joined: bool, hairpin: bool | None) -> Link:
    """Return a link with its hairpin mode right: off when it joins a bridge, none when it is a port of none."""
    if not link.master:
        return replace(link, hairpin=None)
    return replace(link, hairpin=bool(hairpin) if joined else link.hairpin)


# ---- entries
def _key(item: Item) -> _Key:
    match item:
        case Address():
            return ("Address", item.device, item.address)
        case Route(connected=True):
            return ("Connected", item.destination, item.device)
        case Route():
            return ("Route", item.destination, str(item.table))
        case Neighbour():
            return ("Neighbour", item.device, item.address)
        case ForwardingEntry():
            return ("ForwardingEntry", item.device, item.mac)
        case _:
            return ()


def _apply_entry(found: _Namespace, verb: Verb, item: _Entry) -> int:
    if item.device and item.device not in found.links:
        return errno.ENODEV
    if verb is Verb.DELETE:
        return _delete_entry(found, item)
    key = _key(item)
    number = errno.EEXIST if verb is Verb.ADD and key in found.entries else _unfit(found, item)
    if number:
        return number
    if isinstance(item, Address) and key not in found.entries:
        _connect(found, item)
    found.entries[key] = item
    return 0


def _apply_rule(found: _Namespace, verb: Verb, rule: Rule) -> int:
    if verb is Verb.DELETE:
        if rule not in found.rules:
            return errno.ENOENT
        found.rules.remove(rule)
        return 0
    if rule in found.rules:
        return errno.EEXIST
    found.rules.add(rule)
    return 0


def _connect(found: _Namespace, address: _Entry) -> None:
    """Make the route to an address's own subnet, as the kernel does when address and link come up together."""
    interface = IPv4Interface(address.address) if isinstance(address, Address) else None
    if interface and address.device != "lo" and interface.network.prefixlen < 32 and found.links[address.device].up:
        route = Route(str(interface.network), address.device, source=str(interface.ip), connected=True)
        found.entries.setdefault(_key(route), route)


def _disconnect(found: _Namespace, address: Address) -> None:
    """Take away the route to an address's own subnet, unless another address of the device keeps it."""
    network = IPv4Interface(address.address).network
    found.entries.pop(("Connected", str(network), address.device), None)
    for other in found.of(Address):
        if isinstance(other, Address) and other.device == address.device and IPv4Interface(other.address).network == network:
            _connect(found, other)


def _delete_entry(found: _Namespace, item: _Entry) -> int:
    if found.entries.pop(_key(item), None) is None:
        return errno.ENOENT
    if isinstance(item, Address):
        _disconnect(found, item)
    if isinstance(item, Address) and not any(e.device == item.device for e in found.of(Address)):
        found.forget(item.device, (Route, Neighbour))
    return 0


def _unfit(found: _Namespace, item: _Entry) -> int:
    """Return the error number of an entry that its device cannot have."""
    if isinstance(item, ForwardingEntry) and not isinstance(found.links[item.device].kind, Vxlan):
        return errno.EINVAL
    if isinstance(item, Route) and item.gateway and not item.onlink and not _reaches(found, item):
        return errno.ENETUNREACH
    return 0


def _reaches(found: _Namespace, route: Route) -> bool:
    networks = [
        IPv4Interface(e.address).network for e in found.of(Address) if isinstance(e, Address) and e.device == route.device
    ]
    return found.links[route.device].up and any(_within(route.gateway, network) for network in networks)


def _within(address: str, network: IPv4Network) -> bool:
    return IPv4Address(address) in network
