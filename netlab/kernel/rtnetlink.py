"""Operations as rtnetlink requests (rtnetlink(7)); reading back is `netlab.kernel.observed`.

What would surprise you:
- A link can be named in a request by its name, but a bridge, a lower device or the device of an address only by its
  index; `device_names` returns which indices an operation needs before it can be encoded.
- A link's alias and its settings as a bridge port are not taken at creation: they follow in a second request.
- A bridge follows the smallest MTU of its ports, and 1500 when it has none, until its MTU is *changed*. So it is made
  with one byte less, and the second request changes that to what is wanted, for good.
- A VXLAN's forwarding entry travels as a neighbor of family AF_BRIDGE.
- Two verbs differ in flags alone: ADD is exclusive, SET creates or replaces. A connected route is appended, as the kernel
  itself does: a replacement would take the place of the same subnet's route on another device.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
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
    Rule,
    Sysctl,
    Verb,
    Veth,
    Vxlan,
)
from netlab.kernel.codecs import (
    IFF_UP,
    NTF_SELF,
    NUD_PERMANENT,
    RTNH_F_ONLINK,
    Attribute,
    Message,
    fibmsg,
    ifaddrmsg,
    ifinfmsg,
    ndmsg,
    nested,
    netlink,
    request,
    rtmsg,
    rtnl,
)

AF_BRIDGE = 7  # not in Python's socket module
FR_ACT_TO_TBL = 1  # of linux/fib_rules.h: look up a table
BYTE = 255
HAIRPIN = "IFLA_BRPORT_MODE"  # pyroute2 names it after the kernel's BRIDGE_MODE_HAIRPIN
ROUTE_TYPES = {name: rtnl.rt_type[name] for name in ("unicast", "blackhole", "unreachable", "prohibit")}

_NEW = {
    Verb.ADD: netlink.NLM_F_CREATE | netlink.NLM_F_EXCL,
    Verb.SET: netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE,
    Verb.DELETE: 0,
}

IndexOf = Callable[[str], int]  # a device's index by its name
OpenNamespace = Callable[[str], int]  # a descriptor of the namespace at a path, open until the batch is sent


def device_names(operation: Operation) -> tuple[str, ...]:
    """Return the devices whose index the operation's request holds."""
    item = operation.item
    if isinstance(item, Link):
        lower = item.kind.device if isinstance(item.kind, Vxlan) and operation.verb is Verb.ADD else ""
        return tuple(name for name in (item.master, lower) if name and operation.verb is not Verb.DELETE)
    return () if isinstance(item, Sysctl | Rule) or not item.device else (item.device,)


def requests(operation: Operation, index_of: IndexOf, open_namespace: OpenNamespace) -> list[Message]:
    """Return the requests that perform an operation, in order. A Sysctl has none: it is a file."""
    if isinstance(operation.item, Link):
        return _link(operation.verb, operation.item, index_of, open_namespace)
    return [_ENTRIES[type(operation.item)](operation.verb, operation.item, index_of)]


# ---- links
def _link(verb: Verb, link: Link, index_of: IndexOf, open_namespace: OpenNamespace) -> list[Message]:
    name: Attribute = ("IFLA_IFNAME", link.name)
    if verb is Verb.DELETE:
        return [request(ifinfmsg, rtnl.RTM_DELLINK, 0, [name])]
    create = verb is Verb.ADD and link.kind is not None
    first = [name, *_settings(link, index_of, create=create)]
    if create:
        first.append(("IFLA_LINKINFO", _link_info(link, index_of, open_namespace)))
    state = {"flags": IFF_UP if link.up else 0, "change": IFF_UP}
    found = [request(ifinfmsg, rtnl.RTM_NEWLINK, _NEW[Verb.ADD] if create else 0, first, **state)]
    if second := _settings_of_present(link):
        found.append(request(ifinfmsg, rtnl.RTM_NEWLINK, 0, [name, *second], **state))
    return found


def _settings(link: Link, index_of: IndexOf, *, create: bool) -> Iterator[Attribute]:
    if link.mac is not None:
        yield "IFLA_ADDRESS", link.mac
    if link.mtu is not None:
        yield "IFLA_MTU", link.mtu - 1 if create and isinstance(link.kind, Bridge) else link.mtu
    if link.master is not None:
        yield "IFLA_MASTER", index_of(link.master) if link.master else 0


def _settings_of_present(link: Link) -> list[Attribute]:
    """Return the attributes that the kernel takes only for a link that is there."""
    settings: list[Attribute] = []
    if isinstance(link.kind, Bridge) and link.mtu is not None:
        settings.append(("IFLA_MTU", link.mtu))
    if link.alias is not None:
        settings.append(("IFLA_IFALIAS", link.alias))
    if link.hairpin is not None:
        port = ("IFLA_INFO_SLAVE_DATA", nested((HAIRPIN, int(link.hairpin))))
        settings.append(("IFLA_LINKINFO", nested(("IFLA_INFO_SLAVE_KIND", "bridge"), port)))
    return settings


def _link_info(link: Link, index_of: IndexOf, open_namespace: OpenNamespace) -> object:
    kind: Veth | Bridge | Vxlan | None = link.kind
    match kind:
        case Veth():
            name, settings = "veth", [("VETH_INFO_PEER", nested(*_veth_peer(kind, link.mtu, open_namespace)))]
        case Vxlan():
            name, settings = "vxlan", _vxlan(kind, index_of)
        case _:
            name, settings = "bridge", [("IFLA_BR_FORWARD_DELAY", 0), ("IFLA_BR_STP_STATE", 0)]
    return nested(("IFLA_INFO_KIND", name), ("IFLA_INFO_DATA", nested(*settings)))


def _veth_peer(veth: Veth, mtu: int | None, open_namespace: OpenNamespace) -> Iterator[Attribute]:
    yield "IFLA_IFNAME", veth.peer_name
    if veth.peer_namespace:
        yield "IFLA_NET_NS_FD", open_namespace(veth.peer_namespace)
    if veth.peer_mac:
        yield "IFLA_ADDRESS", veth.peer_mac
    if mtu is not None:
        yield "IFLA_MTU", mtu


def _vxlan(vxlan: Vxlan, index_of: IndexOf) -> list[Attribute]:
    return [
        ("IFLA_VXLAN_ID", vxlan.vni),
        ("IFLA_VXLAN_LOCAL", vxlan.local),
        ("IFLA_VXLAN_LINK", index_of(vxlan.device)),
        ("IFLA_VXLAN_PORT", vxlan.port),
        ("IFLA_VXLAN_LEARNING", int(vxlan.learning)),
    ]


# ---- entries
def _address(verb: Verb, item: Address, index_of: IndexOf) -> Message:
    interface = IPv4Interface(item.address)
    return request(
        ifaddrmsg,
        rtnl.RTM_DELADDR if verb is Verb.DELETE else rtnl.RTM_NEWADDR,
        _NEW[verb],
        [("IFA_LOCAL", str(interface.ip)), ("IFA_ADDRESS", str(interface.ip))],
        family=socket.AF_INET,
        prefixlen=interface.network.prefixlen,
        index=index_of(item.device),
    )


def _route(verb: Verb, route: Route, index_of: IndexOf) -> Message:
    network = IPv4Network(route.destination)
    attributes: list[Attribute] = [("RTA_DST", str(network.network_address)), ("RTA_TABLE", route.table)]
    if route.device:
        attributes.append(("RTA_OIF", index_of(route.device)))
    if route.gateway:
        attributes.append(("RTA_GATEWAY", route.gateway))
    if route.source:
        attributes.append(("RTA_PREFSRC", route.source))
    fixed = {"family": socket.AF_INET, "dst_len": network.prefixlen, "table": _table_byte(route.table)}
    if verb is Verb.DELETE:  # of any protocol and type
        return request(rtmsg, rtnl.RTM_DELROUTE, 0, attributes, **fixed, scope=rtnl.rt_scope["nowhere"])
    return request(
        rtmsg,
        rtnl.RTM_NEWROUTE,
        netlink.NLM_F_CREATE | netlink.NLM_F_APPEND if route.connected else _NEW[verb],
        attributes,
        **fixed,
        flags=RTNH_F_ONLINK if route.onlink else 0,
        proto=rtnl.rt_proto["kernel" if route.connected else "boot"],  # "boot" is what `ip route add` writes
        scope=rtnl.rt_scope["link" if route.type == "unicast" and not route.gateway else "universe"],
        type=ROUTE_TYPES[route.type],
    )


def _rule(verb: Verb, rule: Rule, _index_of: IndexOf) -> Message:
    marked: list[Attribute] = [("FRA_FWMARK", rule.mark), ("FRA_FWMASK", rule.mask)] if rule.mask else []
    return request(
        fibmsg,
        rtnl.RTM_DELRULE if verb is Verb.DELETE else rtnl.RTM_NEWRULE,
        0 if verb is Verb.DELETE else _NEW[Verb.ADD],  # the kernel would add a second one of the same
        [("FRA_PRIORITY", rule.priority), ("FRA_TABLE", rule.table), *marked],
        family=socket.AF_INET,
        table=_table_byte(rule.table),
        action=FR_ACT_TO_TBL,
    )


def _table_byte(table: int) -> int:
    """Return what the old field of one byte holds; the attribute has the whole number."""
    return table if table <= BYTE else 0


def _neighbour(verb: Verb, item: Neighbour, index_of: IndexOf) -> Message:
    return _neighbour_entry(verb, index_of(item.device), item.address, item.mac, family=socket.AF_INET)


def _forwarding(verb: Verb, item: ForwardingEntry, index_of: IndexOf) -> Message:
    return _neighbour_entry(verb, index_of(item.device), item.remote, item.mac, family=AF_BRIDGE, flags=NTF_SELF)


def _neighbour_entry(verb: Verb, index: int, destination: str, mac: str, **family: int) -> Message:
    return request(
        ndmsg,
        rtnl.RTM_DELNEIGH if verb is Verb.DELETE else rtnl.RTM_NEWNEIGH,
        _NEW[verb],
        [("NDA_DST", destination), ("NDA_LLADDR", mac)],
        ifindex=index,
        state=NUD_PERMANENT,
        **family,
    )


_ENTRIES: dict[type[object], Callable[[Verb, Any, IndexOf], Message]] = {
    Address: _address,
    Route: _route,
    Rule: _rule,
    Neighbour: _neighbour,
    ForwardingEntry: _forwarding,
}
