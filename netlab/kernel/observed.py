"""What the kernel lists, as a NamespaceState: the reading half of `rtnetlink`.

Left out, as nobody states them: routes the kernel makes itself (`proto kernel`), routes with a metric or of other tables,
ARP and FDB entries that are not permanent, a bridge's own FDB.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping

from netlab.dataplane.state import Address, Bridge, ForwardingEntry, Link, NamespaceState, Neighbour, Route, Veth, Vxlan
from netlab.kernel.codecs import (
    IFF_UP,
    NUD_PERMANENT,
    RTNH_F_ONLINK,
    Message,
    ifaddrmsg,
    ifinfmsg,
    link_message,
    ndmsg,
    request,
    rtmsg,
    rtnl,
)
from netlab.kernel.netlink import Netlink, question
from netlab.kernel.rtnetlink import AF_BRIDGE, HAIRPIN, ROUTE_TYPES, TABLE_MAIN

SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS: half the size of every answer
_ROUTE_TYPES = {number: name for name, number in ROUTE_TYPES.items()}

_LINKS = question(request(link_message, rtnl.RTM_GETLINK, 0, [("IFLA_EXT_MASK", SKIP_STATISTICS)]))
_ADDRESSES = question(request(ifaddrmsg, rtnl.RTM_GETADDR, 0, family=socket.AF_INET))
_ROUTES = question(request(rtmsg, rtnl.RTM_GETROUTE, 0, family=socket.AF_INET, table=TABLE_MAIN))
_NEIGHBOURS = question(request(ndmsg, rtnl.RTM_GETNEIGH, 0, family=socket.AF_INET))
_FORWARDING = question(request(ndmsg, rtnl.RTM_GETNEIGH, 0, family=AF_BRIDGE))

Names = Mapping[int, str]


def read(netlink: Netlink) -> NamespaceState:
    """Return the state of the namespace a socket belongs to, settings (sysctls) aside."""
    messages = netlink.dump(_LINKS)
    names = {message["index"]: _text(message, "IFLA_IFNAME") for message in messages}
    links = tuple(_link(message, names) for message in messages)
    forwarding = netlink.dump(_FORWARDING) if any(isinstance(link.kind, Vxlan) for link in links) else []
    return NamespaceState(
        links=links,
        addresses=tuple(_addresses(netlink.dump(_ADDRESSES), names)),
        routes=tuple(_routes(netlink.dump(_ROUTES), names)),
        neighbours=tuple(Neighbour(*entry) for entry in _permanent(netlink.dump(_NEIGHBOURS), names)),
        forwarding=tuple(ForwardingEntry(device, mac, remote) for device, remote, mac in _permanent(forwarding, names)),
    )


# ---- links
def _link(message: Message, names: Names) -> Link:
    info = message.get_attr("IFLA_LINKINFO", ifinfmsg.ifinfo())
    return Link(
        name=_text(message, "IFLA_IFNAME"),
        kind=_kind(info, names),
        mac=message.get_attr("IFLA_ADDRESS", ""),
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(message["flags"] & IFF_UP),
        master=names.get(message.get_attr("IFLA_MASTER"), ""),
        hairpin=_hairpin(info),
        alias=_text(message, "IFLA_IFALIAS"),
    )


def _text(message: Message, name: str) -> str:
    """Return a text attribute. Anybody may name a device in bytes that are no text, which pyroute2 leaves as they are."""
    value = message.get_attr(name, "")
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _hairpin(info: Message) -> bool | None:
    if info.get_attr("IFLA_INFO_SLAVE_KIND") != "bridge":
        return None
    return bool(info.get_attr("IFLA_INFO_SLAVE_DATA").get_attr(HAIRPIN))


def _kind(info: Message, names: Names) -> Veth | Bridge | Vxlan | None:
    match info.get_attr("IFLA_INFO_KIND"):
        case "veth":
            return Veth("", "")
        case "bridge":
            return Bridge()
        case "vxlan":
            return _vxlan(info.get_attr("IFLA_INFO_DATA"), names)
        case _:
            return None


def _vxlan(settings: Message, names: Names) -> Vxlan:
    return Vxlan(
        vni=settings.get_attr("IFLA_VXLAN_ID"),
        port=settings.get_attr("IFLA_VXLAN_PORT"),
        local=settings.get_attr("IFLA_VXLAN_LOCAL", ""),
        device=names.get(settings.get_attr("IFLA_VXLAN_LINK"), ""),
        learning=bool(settings.get_attr("IFLA_VXLAN_LEARNING")),
    )


# ---- entries
def _addresses(messages: Iterable[Message], names: Names) -> Iterable[Address]:
    for message in messages:
        local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        if local and message["index"] in names:
            yield Address(names[message["index"]], f"{local}/{message['prefixlen']}")


def _routes(messages: Iterable[Message], names: Names) -> Iterable[Route]:
    for message in messages:
        foreign = message["proto"] == rtnl.rt_proto["kernel"] or message["tos"] or message.get_attr("RTA_PRIORITY") is not None
        if foreign or message.get_attr("RTA_TABLE") != TABLE_MAIN or message["type"] not in _ROUTE_TYPES:
            continue
        yield Route(
            destination=f"{message.get_attr('RTA_DST', '0.0.0.0')}/{message['dst_len']}",
            device=names.get(message.get_attr("RTA_OIF"), ""),
            gateway=message.get_attr("RTA_GATEWAY", ""),
            onlink=bool(message["flags"] & RTNH_F_ONLINK),
            source=message.get_attr("RTA_PREFSRC", ""),
            type=_ROUTE_TYPES[message["type"]],
        )


def _permanent(messages: Iterable[Message], names: Names) -> Iterable[tuple[str, str, str]]:
    """Yield device, destination and MAC of permanent entries, of ARP or of a VXLAN's FDB: they travel alike."""
    for message in messages:
        if not message["state"] & NUD_PERMANENT or message["ifindex"] not in names:
            continue
        destination, mac = message.get_attr("NDA_DST"), message.get_attr("NDA_LLADDR")
        if destination and mac:
            yield names[message["ifindex"]], destination, mac
