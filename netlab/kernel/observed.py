"""What the kernel lists, as a NamespaceState: the reading half of `rtnetlink`.

Left out, as nobody states them: routes the kernel makes itself (`proto kernel`), routes with a metric or of other tables,
ARP and FDB entries that are not permanent, a bridge's own FDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netlab.dataplane.state import Address, Bridge, ForwardingEntry, Link, NamespaceState, Neighbour, Route, Veth, Vxlan
from netlab.kernel import rtnetlink, wire
from netlab.kernel.netlink import Netlink

_ROUTE_TYPES = {number: name for name, number in rtnetlink.ROUTE_TYPES.items()}
_LINK_REQUEST = wire.Message(
    rtnetlink.GET_LINK, 0, rtnetlink.LINK.pack(0, 0, 0, 0, 0) + wire.u32(rtnetlink.IFLA_EXT_MASK, rtnetlink.SKIP_STATISTICS)
)
_ADDRESS_REQUEST = wire.Message(rtnetlink.GET_ADDRESS, 0, rtnetlink.ADDRESS.pack(rtnetlink.AF_INET, 0, 0, 0, 0))
_ROUTE_REQUEST = wire.Message(
    rtnetlink.GET_ROUTE,
    0,
    rtnetlink.ROUTE.pack(rtnetlink.AF_INET, 0, 0, 0, rtnetlink.TABLE_MAIN, 0, 0, 0, 0),
)
_NEIGHBOUR_REQUESTS = {
    family: wire.Message(rtnetlink.GET_NEIGHBOUR, 0, rtnetlink.NEIGHBOUR.pack(family, 0, 0, 0, 0))
    for family in (rtnetlink.AF_INET, rtnetlink.AF_BRIDGE)
}

Names = Mapping[int, str]


def read(netlink: Netlink) -> NamespaceState:
    """Return the state of the namespace a socket belongs to, settings (sysctls) aside."""
    raw_links = [_raw_link(message.body) for message in netlink.dump(_LINK_REQUEST)]
    names = {index: wire.as_text(attributes[rtnetlink.IFLA_IFNAME]) for index, _, attributes in raw_links}
    forwarding = netlink.dump(_NEIGHBOUR_REQUESTS[rtnetlink.AF_BRIDGE]) if _has_vxlan(raw_links) else []
    return NamespaceState(
        links=tuple(_link(flags, attributes, names) for _, flags, attributes in raw_links),
        addresses=tuple(_addresses(netlink.dump(_ADDRESS_REQUEST), names)),
        routes=tuple(_routes(netlink.dump(_ROUTE_REQUEST), names)),
        neighbours=tuple(_neighbours(netlink.dump(_NEIGHBOUR_REQUESTS[rtnetlink.AF_INET]), names)),
        forwarding=tuple(_forwarding(forwarding, names)),
    )


# ---- links
RawLink = tuple[int, int, dict[int, bytes]]  # index, flags, attributes


def _raw_link(body: bytes) -> RawLink:
    _, _, index, flags, _ = rtnetlink.LINK.unpack_from(body)
    return index, flags, wire.attributes(body, rtnetlink.LINK.size)


def _kind_name(attributes: wire.Attributes) -> str:
    info = wire.attributes(attributes.get(rtnetlink.IFLA_LINKINFO, b""))
    return wire.as_text(info.get(rtnetlink.INFO_KIND, b""))


def _has_vxlan(links: Iterable[RawLink]) -> bool:
    return any(_kind_name(attributes) == "vxlan" for _, _, attributes in links)


def _link(flags: int, attributes: wire.Attributes, names: Names) -> Link:
    info = wire.attributes(attributes.get(rtnetlink.IFLA_LINKINFO, b""))
    master = wire.as_number(attributes.get(rtnetlink.IFLA_MASTER, b""))
    return Link(
        name=wire.as_text(attributes[rtnetlink.IFLA_IFNAME]),
        kind=_kind(wire.as_text(info.get(rtnetlink.INFO_KIND, b"")), info.get(rtnetlink.INFO_DATA, b""), names),
        mac=wire.as_mac(attributes.get(rtnetlink.IFLA_ADDRESS, b"")),
        mtu=wire.as_number(attributes.get(rtnetlink.IFLA_MTU, b"")),
        up=bool(flags & rtnetlink.IFF_UP),
        master=names.get(master, "") if master else "",
        hairpin=_hairpin(info),
        alias=wire.as_text(attributes.get(rtnetlink.IFLA_IFALIAS, b"")),
    )


def _hairpin(info: wire.Attributes) -> bool | None:
    if wire.as_text(info.get(rtnetlink.INFO_SLAVE_KIND, b"")) != "bridge":
        return None
    port = wire.attributes(info.get(rtnetlink.INFO_SLAVE_DATA, b""))
    return bool(wire.as_number(port.get(rtnetlink.PORT_HAIRPIN, b"")))


def _kind(name: str, settings: bytes, names: Names) -> Veth | Bridge | Vxlan | None:
    if name == "veth":
        return Veth("", "")
    if name == "bridge":
        return Bridge()
    if name != "vxlan":
        return None
    values = wire.attributes(settings)
    local = values.get(rtnetlink.VXLAN_LOCAL, b"")
    return Vxlan(
        vni=wire.as_number(values.get(rtnetlink.VXLAN_ID, b"")),
        port=wire.as_network_number(values.get(rtnetlink.VXLAN_PORT, b"")),
        local=wire.as_ipv4(local) if local else "",
        device=names.get(wire.as_number(values.get(rtnetlink.VXLAN_LINK, b"")), ""),
        learning=bool(wire.as_number(values.get(rtnetlink.VXLAN_LEARNING, b""))),
    )


# ---- entries
def _addresses(messages: Iterable[wire.Received], names: Names) -> Iterable[Address]:
    for message in messages:
        _, prefix_length, _, _, index = rtnetlink.ADDRESS.unpack_from(message.body)
        attributes = wire.attributes(message.body, rtnetlink.ADDRESS.size)
        local = attributes.get(rtnetlink.IFA_LOCAL) or attributes.get(rtnetlink.IFA_ADDRESS)
        if local and index in names:
            yield Address(names[index], f"{wire.as_ipv4(local)}/{prefix_length}")


def _routes(messages: Iterable[wire.Received], names: Names) -> Iterable[Route]:
    for message in messages:
        _, length, _, tos, _, protocol, _, kind, flags = rtnetlink.ROUTE.unpack_from(message.body)
        attributes = wire.attributes(message.body, rtnetlink.ROUTE.size)
        table = wire.as_number(attributes.get(rtnetlink.RTA_TABLE, b""))
        foreign = protocol == rtnetlink.PROTOCOL_KERNEL or tos or rtnetlink.RTA_PRIORITY in attributes
        if foreign or table != rtnetlink.TABLE_MAIN or kind not in _ROUTE_TYPES:
            continue
        yield Route(
            destination=f"{_address_or(attributes, rtnetlink.RTA_DST, '0.0.0.0')}/{length}",
            device=names.get(wire.as_number(attributes.get(rtnetlink.RTA_OIF, b"")), ""),
            gateway=_address_or(attributes, rtnetlink.RTA_GATEWAY, ""),
            onlink=bool(flags & rtnetlink.NEXT_HOP_ONLINK),
            source=_address_or(attributes, rtnetlink.RTA_PREFSRC, ""),
            type=_ROUTE_TYPES[kind],
        )


def _address_or(attributes: wire.Attributes, kind: int, default: str) -> str:
    value = attributes.get(kind)
    return wire.as_ipv4(value) if value else default


def _neighbours(messages: Iterable[wire.Received], names: Names) -> Iterable[Neighbour]:
    for message in messages:
        _, index, state, _, _ = rtnetlink.NEIGHBOUR.unpack_from(message.body)
        attributes = wire.attributes(message.body, rtnetlink.NEIGHBOUR.size)
        address, mac = attributes.get(rtnetlink.NDA_DST), attributes.get(rtnetlink.NDA_LLADDR)
        if state & rtnetlink.PERMANENT and address and mac and index in names:
            yield Neighbour(names[index], wire.as_ipv4(address), wire.as_mac(mac))


def _forwarding(messages: Iterable[wire.Received], names: Names) -> Iterable[ForwardingEntry]:
    for message in messages:
        _, index, state, _, _ = rtnetlink.NEIGHBOUR.unpack_from(message.body)
        attributes = wire.attributes(message.body, rtnetlink.NEIGHBOUR.size)
        remote, mac = attributes.get(rtnetlink.NDA_DST), attributes.get(rtnetlink.NDA_LLADDR)
        if state & rtnetlink.PERMANENT and remote and mac and index in names:
            yield ForwardingEntry(names[index], wire.as_mac(mac), wire.as_ipv4(remote))
