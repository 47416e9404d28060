"""What the kernel lists, as a NamespaceState: the reading half of `rtnetlink`.

Left out, as no caller states them: routes with a metric, routes of other tables unless asked for, ARP and FDB entries that are
not permanent, a bridge's own FDB. The routes the kernel makes itself with an address (`proto kernel`) are listed apart, as
`connected`.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Mapping

from netlab.dataplane.state import (
    LOCAL_TABLE,
    MAIN_TABLE,
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    NamespaceState,
    Neighbour,
    Route,
    Rule,
    Veth,
    Vxlan,
)
from netlab.kernel import listing
from netlab.kernel.codecs import IFF_UP, NUD_PERMANENT, RTNH_F_ONLINK, fibmsg, ifaddrmsg, ifinfmsg, ndmsg, request, rtmsg, rtnl
from netlab.kernel.listing import Form, Values
from netlab.kernel.netlink import Netlink, question
from netlab.kernel.rtnetlink import AF_BRIDGE, FR_ACT_TO_TBL, HAIRPIN, ROUTE_TYPES

SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS: half the size of every answer
_ROUTE_TYPES = {number: name for name, number in ROUTE_TYPES.items()}

_info = ifinfmsg.ifinfo
_BRIDGE_PORT = Form(_info.data_map["bridge_slave"], {HAIRPIN: listing.number})
_VXLAN = Form(
    _info.data_map["vxlan"],
    {
        "IFLA_VXLAN_ID": listing.number,
        "IFLA_VXLAN_LINK": listing.number,
        "IFLA_VXLAN_LOCAL": listing.address,
        "IFLA_VXLAN_LEARNING": listing.number,
        "IFLA_VXLAN_PORT": listing.network_number,
    },
)
_INFO = Form(
    _info,
    {
        "IFLA_INFO_KIND": listing.text,
        "IFLA_INFO_DATA": listing.raw,  # what it holds is the kind's
        "IFLA_INFO_SLAVE_KIND": listing.text,
        "IFLA_INFO_SLAVE_DATA": listing.raw,
    },
)
_LINK = Form(
    ifinfmsg,
    {
        "IFLA_IFNAME": listing.text,
        "IFLA_ADDRESS": listing.mac,
        "IFLA_MTU": listing.number,
        "IFLA_MASTER": listing.number,
        "IFLA_LINK": listing.number,
        "IFLA_IFALIAS": listing.text,
        "IFLA_LINKINFO": _INFO.nested,
    },
)
_ADDRESS = Form(ifaddrmsg, {"IFA_LOCAL": listing.address, "IFA_ADDRESS": listing.address})
_ROUTE = Form(
    rtmsg,
    {
        "RTA_DST": listing.address,
        "RTA_OIF": listing.number,
        "RTA_GATEWAY": listing.address,
        "RTA_PREFSRC": listing.address,
        "RTA_PRIORITY": listing.number,
        "RTA_TABLE": listing.number,
    },
)
_RULE = Form(
    fibmsg,
    {
        "FRA_PRIORITY": listing.number,
        "FRA_TABLE": listing.number,
        "FRA_FWMARK": listing.number,
        "FRA_FWMASK": listing.number,
        "FRA_IIFNAME": listing.text,
        "FRA_OIFNAME": listing.text,
        "FRA_IP_PROTO": listing.number,
        "FRA_L3MDEV": listing.number,
        "FRA_UID_RANGE": listing.raw,
        "FRA_SPORT_RANGE": listing.raw,
        "FRA_DPORT_RANGE": listing.raw,
    },
)
_NEIGHBOUR = Form(ndmsg, {"NDA_DST": listing.address, "NDA_LLADDR": listing.mac})

_LINKS = question(request(ifinfmsg, rtnl.RTM_GETLINK, 0, [("IFLA_EXT_MASK", SKIP_STATISTICS)]), _LINK.read)
_ADDRESSES = question(request(ifaddrmsg, rtnl.RTM_GETADDR, 0, family=socket.AF_INET), _ADDRESS.read)
_ROUTES = question(request(rtmsg, rtnl.RTM_GETROUTE, 0, family=socket.AF_INET, table=MAIN_TABLE), _ROUTE.read)
_ALL_ROUTES = question(request(rtmsg, rtnl.RTM_GETROUTE, 0, family=socket.AF_INET), _ROUTE.read)
_RULES = question(request(fibmsg, rtnl.RTM_GETRULE, 0, family=socket.AF_INET), _RULE.read)
_NEIGHBOURS = question(request(ndmsg, rtnl.RTM_GETNEIGH, 0, family=socket.AF_INET), _NEIGHBOUR.read)
_FORWARDING = question(request(ndmsg, rtnl.RTM_GETNEIGH, 0, family=AF_BRIDGE), _NEIGHBOUR.read)

Names = Mapping[int, str]
FIB_RULE_INVERT = 2  # of linux/fib_rules.h: the rule is for packets that do not match
RULE_SELECTORS = frozenset(
    {"FRA_IIFNAME", "FRA_OIFNAME", "FRA_IP_PROTO", "FRA_L3MDEV", "FRA_UID_RANGE", "FRA_SPORT_RANGE", "FRA_DPORT_RANGE"}
)


def read(netlink: Netlink, *, policy: bool = False) -> NamespaceState:
    """Return the state of the namespace a socket belongs to, settings (sysctls) aside; see `door.Kernel.observe`."""
    messages = netlink.dump(_LINKS)
    names = {message["index"]: message.get("IFLA_IFNAME", "") for message in messages}
    links = tuple(_link(message, names) for message in messages)
    forwarding = netlink.dump(_FORWARDING) if any(isinstance(link.kind, Vxlan) for link in links) else []
    rules = tuple(map(_rule, netlink.dump(_RULES))) if policy else None
    tables = {MAIN_TABLE, *(rule.table for rule in rules or ())} - {LOCAL_TABLE}
    routes = tuple(_routes(netlink.dump(_ALL_ROUTES if policy else _ROUTES), names, tables))
    return NamespaceState(
        links=links,
        addresses=tuple(_addresses(netlink.dump(_ADDRESSES), names)),
        routes=tuple(route for route in routes if not route.connected),
        connected=tuple(route for route in routes if route.connected),
        rules=rules,
        neighbours=tuple(Neighbour(*entry) for entry in _permanent(netlink.dump(_NEIGHBOURS), names)),
        forwarding=tuple(ForwardingEntry(device, mac, remote) for device, remote, mac in _permanent(forwarding, names)),
    )


# ---- links
def _link(message: Values, names: Names) -> Link:
    info: Values = message.get("IFLA_LINKINFO", {})
    return Link(
        name=message.get("IFLA_IFNAME", ""),
        kind=_kind(info, names),
        mac=message.get("IFLA_ADDRESS", ""),
        mtu=message.get("IFLA_MTU"),
        up=bool(message["flags"] & IFF_UP),
        master=names.get(message.get("IFLA_MASTER", 0), ""),
        hairpin=_hairpin(info),
        alias=message.get("IFLA_IFALIAS", ""),
        index=message["index"],
        peer=message.get("IFLA_LINK", 0),
    )


def _hairpin(info: Values) -> bool | None:
    if info.get("IFLA_INFO_SLAVE_KIND") != "bridge":
        return None
    return bool(_BRIDGE_PORT.nested(info["IFLA_INFO_SLAVE_DATA"]).get(HAIRPIN))


def _kind(info: Values, names: Names) -> Veth | Bridge | Vxlan | None:
    match info.get("IFLA_INFO_KIND"):
        case "veth":
            return Veth("", "")
        case "bridge":
            return Bridge()
        case "vxlan":
            return _vxlan(_VXLAN.nested(info["IFLA_INFO_DATA"]), names)
        case _:
            return None


def _vxlan(settings: Values, names: Names) -> Vxlan:
    return Vxlan(
        vni=settings["IFLA_VXLAN_ID"],
        port=settings["IFLA_VXLAN_PORT"],
        local=settings.get("IFLA_VXLAN_LOCAL", ""),
        device=names.get(settings.get("IFLA_VXLAN_LINK", 0), ""),
        learning=bool(settings.get("IFLA_VXLAN_LEARNING")),
    )


# ---- entries
def _addresses(messages: Iterable[Values], names: Names) -> Iterable[Address]:
    for message in messages:
        local = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
        if local and message["index"] in names:
            yield Address(names[message["index"]], f"{local}/{message['prefixlen']}")


def _rule(message: Values) -> Rule:
    """Return a rule; one of a kind that netlab does not write gets table 0, so it equals no wanted rule."""
    narrowed = message["src_len"] or message["dst_len"] or message["tos"] or message["flags"] & FIB_RULE_INVERT
    foreign = narrowed or message["action"] != FR_ACT_TO_TBL or not RULE_SELECTORS.isdisjoint(message)
    table = 0 if foreign else message.get("FRA_TABLE", 0)
    return Rule(message.get("FRA_PRIORITY", 0), table, message.get("FRA_FWMARK", 0), message.get("FRA_FWMASK", 0))


def _routes(messages: Iterable[Values], names: Names, tables: Collection[int]) -> Iterable[Route]:
    for message in messages:
        foreign = message["tos"] or message.get("RTA_PRIORITY") is not None
        if foreign or message.get("RTA_TABLE") not in tables or message["type"] not in _ROUTE_TYPES:
            continue
        yield Route(
            destination=f"{message.get('RTA_DST', '0.0.0.0')}/{message['dst_len']}",
            device=names.get(message.get("RTA_OIF", 0), ""),
            gateway=message.get("RTA_GATEWAY", ""),
            onlink=bool(message["flags"] & RTNH_F_ONLINK),
            source=message.get("RTA_PREFSRC", ""),
            type=_ROUTE_TYPES[message["type"]],
            connected=message["proto"] == rtnl.rt_proto["kernel"],
            table=message["RTA_TABLE"],
        )


def _permanent(messages: Iterable[Values], names: Names) -> Iterable[tuple[str, str, str]]:
    """Yield device, destination and MAC of permanent entries, of ARP or of a VXLAN's FDB: they travel alike."""
    for message in messages:
        if not message["state"] & NUD_PERMANENT or message["ifindex"] not in names:
            continue
        destination, mac = message.get("NDA_DST"), message.get("NDA_LLADDR")
        if destination and mac:
            yield names[message["ifindex"]], destination, mac
