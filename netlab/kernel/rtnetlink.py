"""Operations as rtnetlink requests (rtnetlink(7)); reading back is `netlab.kernel.observed`.

What would surprise you:
- A link can be named in a request by its name, but a bridge, a lower device or the device of an address only by its
  index; `device_names` says which indices an operation needs before it can be encoded.
- A link's alias and its settings as a bridge port are not taken at creation: they follow in a second request.
- A bridge follows the smallest MTU of its ports, and 1500 when it has none, until somebody *changes* its MTU. So it is made
  with one byte less, and the second request changes that to what is wanted, for good.
- A VXLAN's forwarding entry travels as a neighbour of family AF_BRIDGE.
- Two verbs differ in flags alone: ADD is exclusive, SET creates or replaces.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from netlab.dataplane.state import (
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    Neighbour,
    Operation,
    Route,
    Sysctl,
    Verb,
    Veth,
    Vxlan,
)
from netlab.kernel import wire

NETLINK_ROUTE = 0
AF_INET, AF_BRIDGE = 2, 7

NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, DELETE_NEIGHBOUR, GET_NEIGHBOUR = 28, 29, 30

LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst len, src len, tos, table, protocol, scope, type, flags
NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type

IFF_UP = 0x1
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_NET_NS_FD, IFLA_EXT_MASK = 18, 20, 28, 29
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_PEER = 1
BRIDGE_FORWARD_DELAY, BRIDGE_STP_STATE = 1, 5
PORT_HAIRPIN = 4  # IFLA_BRPORT_MODE
VXLAN_ID, VXLAN_LINK, VXLAN_LOCAL, VXLAN_LEARNING, VXLAN_PORT = 1, 3, 4, 7, 15
SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS: half the size of every answer

IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 6, 7, 15
NDA_DST, NDA_LLADDR = 1, 2

TABLE_MAIN = 254
PROTOCOL_KERNEL, PROTOCOL_BOOT = 2, 3  # boot: what `ip route add` writes
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_NOWHERE = 0, 253, 255
NEXT_HOP_ONLINK = 4
PERMANENT = 0x80  # NUD_PERMANENT
NOARP = 0x40
SELF = 2  # NTF_SELF
ROUTE_TYPES = {"unicast": 1, "blackhole": 6, "unreachable": 7, "prohibit": 8}

_NEW_FLAGS = {Verb.ADD: wire.CREATE | wire.EXCLUSIVE, Verb.SET: wire.CREATE | wire.REPLACE}

IndexOf = Callable[[str], int]  # a device's index by its name
OpenNamespace = Callable[[str], int]  # a descriptor of the namespace at a path, open until the batch is sent


def device_names(operation: Operation) -> tuple[str, ...]:
    """Return the devices whose index the operation's request holds."""
    item = operation.item
    if isinstance(item, Link):
        lower = item.kind.device if isinstance(item.kind, Vxlan) and operation.verb is Verb.ADD else ""
        return tuple(name for name in (item.master, lower) if name and operation.verb is not Verb.DELETE)
    return () if isinstance(item, Sysctl) or not item.device else (item.device,)


def encode(operation: Operation, index_of: IndexOf, open_namespace: OpenNamespace) -> list[wire.Message]:
    """Return the requests that perform an operation, in order. A Sysctl has none: it is a file."""
    if isinstance(operation.item, Link):
        return _link(operation.verb, operation.item, index_of, open_namespace)
    return [_ENTRIES[type(operation.item)](operation.verb, operation.item, index_of)]


# ---- links
def _link(verb: Verb, link: Link, index_of: IndexOf, open_namespace: OpenNamespace) -> list[wire.Message]:
    if verb is Verb.DELETE:
        return [wire.Message(DELETE_LINK, 0, _link_body(0, wire.text(IFLA_IFNAME, link.name)))]
    create = verb is Verb.ADD and link.kind is not None
    first = [wire.text(IFLA_IFNAME, link.name)]
    if link.mac is not None:
        first.append(wire.mac(IFLA_ADDRESS, link.mac))
    if link.mtu is not None:
        first.append(wire.u32(IFLA_MTU, link.mtu - 1 if create and isinstance(link.kind, Bridge) else link.mtu))
    if link.master is not None:
        first.append(wire.u32(IFLA_MASTER, index_of(link.master) if link.master else 0))
    if create:
        first.append(_link_info(link, index_of, open_namespace))
    requests = [wire.Message(NEW_LINK, _NEW_FLAGS[Verb.ADD] if create else 0, _link_body(link.up, *first))]
    if second := _settings_of_present(link):
        requests.append(wire.Message(NEW_LINK, 0, _link_body(link.up, wire.text(IFLA_IFNAME, link.name), *second)))
    return requests


def _link_body(up: int, *attributes: bytes) -> bytes:
    return LINK.pack(0, 0, 0, IFF_UP if up else 0, IFF_UP) + b"".join(attributes)


def _settings_of_present(link: Link) -> list[bytes]:
    """Return the attributes that the kernel takes only for a link that is there."""
    settings = []
    if isinstance(link.kind, Bridge) and link.mtu is not None:
        settings.append(wire.u32(IFLA_MTU, link.mtu))
    if link.alias is not None:
        settings.append(wire.attribute(IFLA_IFALIAS, link.alias.encode()))
    if link.hairpin is not None:
        port = wire.nested(INFO_SLAVE_DATA, wire.u8(PORT_HAIRPIN, link.hairpin))
        settings.append(wire.nested(IFLA_LINKINFO, wire.text(INFO_SLAVE_KIND, "bridge"), port))
    return settings


def _link_info(link: Link, index_of: IndexOf, open_namespace: OpenNamespace) -> bytes:
    kind: Veth | Bridge | Vxlan | None = link.kind
    match kind:
        case Veth():
            name, settings = "veth", [_veth_peer(kind, link.mtu, open_namespace)]
        case Vxlan():
            name, settings = "vxlan", _vxlan(kind, index_of)
        case _:
            name, settings = "bridge", [wire.u32(BRIDGE_FORWARD_DELAY, 0), wire.u32(BRIDGE_STP_STATE, 0)]
    return wire.nested(IFLA_LINKINFO, wire.text(INFO_KIND, name), wire.nested(INFO_DATA, *settings))


def _veth_peer(veth: Veth, mtu: int | None, open_namespace: OpenNamespace) -> bytes:
    peer = [wire.text(IFLA_IFNAME, veth.peer_name)]
    if veth.peer_namespace:
        peer.append(wire.u32(IFLA_NET_NS_FD, open_namespace(veth.peer_namespace)))
    if veth.peer_mac:
        peer.append(wire.mac(IFLA_ADDRESS, veth.peer_mac))
    if mtu is not None:
        peer.append(wire.u32(IFLA_MTU, mtu))
    return wire.attribute(VETH_PEER | wire.NESTED, LINK.pack(0, 0, 0, 0, 0) + b"".join(peer))


def _vxlan(vxlan: Vxlan, index_of: IndexOf) -> list[bytes]:
    return [
        wire.u32(VXLAN_ID, vxlan.vni),
        wire.ipv4(VXLAN_LOCAL, vxlan.local),
        wire.u32(VXLAN_LINK, index_of(vxlan.device)),
        wire.u16_network(VXLAN_PORT, vxlan.port),
        wire.u8(VXLAN_LEARNING, vxlan.learning),
    ]


# ---- entries
def _address(verb: Verb, item: Address, index_of: IndexOf) -> wire.Message:
    interface = IPv4Interface(item.address)
    body = ADDRESS.pack(AF_INET, interface.network.prefixlen, 0, SCOPE_UNIVERSE, index_of(item.device))
    body += wire.ipv4(IFA_LOCAL, str(interface.ip)) + wire.ipv4(IFA_ADDRESS, str(interface.ip))
    if verb is Verb.DELETE:
        return wire.Message(DELETE_ADDRESS, 0, body)
    return wire.Message(NEW_ADDRESS, _NEW_FLAGS[verb], body)


def _route(verb: Verb, route: Route, index_of: IndexOf) -> wire.Message:
    network = IPv4Network(route.destination)
    flags = NEXT_HOP_ONLINK if route.onlink else 0
    scope = SCOPE_LINK if route.type == "unicast" and not route.gateway else SCOPE_UNIVERSE
    protocol, kind = PROTOCOL_BOOT, ROUTE_TYPES[route.type]
    if verb is Verb.DELETE:
        scope, protocol, kind, flags = SCOPE_NOWHERE, 0, 0, 0  # any will do
    body = ROUTE.pack(AF_INET, network.prefixlen, 0, 0, TABLE_MAIN, protocol, scope, kind, flags)
    body += wire.ipv4(RTA_DST, str(network.network_address))
    if route.device:
        body += wire.u32(RTA_OIF, index_of(route.device))
    if route.gateway:
        body += wire.ipv4(RTA_GATEWAY, route.gateway)
    if route.source:
        body += wire.ipv4(RTA_PREFSRC, route.source)
    if verb is Verb.DELETE:
        return wire.Message(DELETE_ROUTE, 0, body)
    return wire.Message(NEW_ROUTE, _NEW_FLAGS[verb], body)


def _neighbour(verb: Verb, item: Neighbour, index_of: IndexOf) -> wire.Message:
    body = NEIGHBOUR.pack(AF_INET, index_of(item.device), PERMANENT, 0, 0) + wire.ipv4(NDA_DST, item.address)
    if verb is Verb.DELETE:
        return wire.Message(DELETE_NEIGHBOUR, 0, body)
    return wire.Message(NEW_NEIGHBOUR, _NEW_FLAGS[verb], body + wire.mac(NDA_LLADDR, item.mac))


def _forwarding(verb: Verb, item: ForwardingEntry, index_of: IndexOf) -> wire.Message:
    body = NEIGHBOUR.pack(AF_BRIDGE, index_of(item.device), PERMANENT, SELF, 0)
    body += wire.mac(NDA_LLADDR, item.mac) + wire.ipv4(NDA_DST, item.remote)
    if verb is Verb.DELETE:
        return wire.Message(DELETE_NEIGHBOUR, 0, body)
    return wire.Message(NEW_NEIGHBOUR, _NEW_FLAGS[verb], body)


_ENTRIES: dict[type[object], Callable[[Verb, Any, IndexOf], wire.Message]] = {
    Address: _address,
    Route: _route,
    Neighbour: _neighbour,
    ForwardingEntry: _forwarding,
}
