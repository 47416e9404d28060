"""Requests as they are sent, read back from their bytes, and listings of nft: what can be checked without a kernel."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from netlab.dataplane.state import (
    Address,
    Bridge,
    ForwardingEntry,
    Link,
    Neighbour,
    Operation,
    Route,
    Verb,
    Veth,
    Vxlan,
)
from netlab.kernel import listing, rtnetlink
from netlab.kernel.codecs import conntrack_message, ifinfmsg, nested, netlink, request, rtnl
from netlab.kernel.listing import Form

ADD, SET, DELETE = Verb.ADD, Verb.SET, Verb.DELETE
INDICES = {"eth0": 2, "cni0": 4, "flannel.1": 3}


def sent(message: Any) -> Any:
    """Return a message made from another's bytes."""
    message.encode()
    read = type(message)(bytes(message.data))
    read.decode()
    return read


def decoded(operation: Operation) -> list[Any]:
    """Return an operation's requests, read from their bytes."""
    return [sent(message) for message in rtnetlink.requests(operation, INDICES.__getitem__, lambda _: 99)]


LINKS = [
    (Link("cni0", Bridge(), mac="02:00:00:00:00:01"), ["IFLA_IFNAME", "cni0"], ["IFLA_ADDRESS", "02:00:00:00:00:01"]),
    (Link("veth1", Veth("eth0", "/p"), master="cni0", mtu=1450), ["IFLA_MASTER", 4], ["IFLA_MTU", 1450]),
]


@pytest.mark.parametrize(("link", "first", "second"), LINKS, ids=["bridge", "veth"])
def test_link_attributes(link: Link, first: list[object], second: list[object]):
    """Name, MAC, MTU and bridge are attributes; up is a flag with its mask."""
    message = decoded(Operation(ADD, link))[0]

    assert [first[1], second[1]] == [message.get_attr(first[0]), message.get_attr(second[0])]
    assert (1, 1) == (message["flags"] & 1, message["change"] & 1)


def test_veth_peer():
    """The far end has its name, MAC, MTU and the descriptor of its namespace."""
    info = decoded(Operation(ADD, Link("veth1", Veth("eth0", "/p", "0a:58:0a:f4:01:02"), mtu=1450)))[0].get_attr("IFLA_LINKINFO")
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    seen = [peer.get_attr(f"IFLA_{name}") for name in ("IFNAME", "ADDRESS", "MTU", "NET_NS_FD")]

    assert ("veth", ["eth0", "0a:58:0a:f4:01:02", 1450, 99]) == (info.get_attr("IFLA_INFO_KIND"), seen)


def test_vxlan():
    """VNI, port, local address, lower device, and no learning (semantics 2.13)."""
    info = decoded(Operation(ADD, Link("flannel.1", Vxlan(1, 8472, "172.30.1.1", "eth0"))))[0].get_attr("IFLA_LINKINFO")
    settings = info.get_attr("IFLA_INFO_DATA")
    seen = [settings.get_attr(f"IFLA_VXLAN_{name}") for name in ("ID", "PORT", "LOCAL", "LINK", "LEARNING")]

    assert [1, 8472, "172.30.1.1", 2, 0] == seen


def test_alias_and_hairpin_follow():
    """What the kernel takes only for a link that is there comes in a second request."""
    messages = decoded(Operation(ADD, Link("veth1", Veth("eth0", "/p"), master="cni0", hairpin=True, alias="mark")))
    port = messages[1].get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_SLAVE_DATA")

    assert [None, "mark"] == [message.get_attr("IFLA_IFALIAS") for message in messages]
    assert 1 == port.get_attr("IFLA_BRPORT_MODE")


ENTRIES = [
    (Address("cni0", "10.244.1.1/24"), {"prefixlen": 24, "index": 4}, {"IFA_LOCAL": "10.244.1.1"}),
    (
        Route("10.244.2.0/24", "flannel.1", "10.244.2.0", onlink=True),
        {"dst_len": 24, "table": 254, "flags": 4, "scope": 0, "proto": 3, "type": 1},
        {"RTA_DST": "10.244.2.0", "RTA_GATEWAY": "10.244.2.0", "RTA_OIF": 3},
    ),
    (Route("10.9.0.0/16", "eth0", source="10.0.0.1"), {"scope": 253}, {"RTA_PREFSRC": "10.0.0.1", "RTA_OIF": 2}),
    (Route("10.9.0.0/16", type="blackhole"), {"type": 6, "scope": 0}, {"RTA_OIF": None}),
    (
        Neighbour("flannel.1", "10.244.2.0", "02:00:00:00:00:02"),
        {"family": 2, "ifindex": 3, "state": 0x80},
        {"NDA_DST": "10.244.2.0", "NDA_LLADDR": "02:00:00:00:00:02"},
    ),
    (
        ForwardingEntry("flannel.1", "02:00:00:00:00:02", "172.30.1.2"),
        {"family": 7, "ifindex": 3, "state": 0x80, "flags": 2},
        {"NDA_DST": "172.30.1.2", "NDA_LLADDR": "02:00:00:00:00:02"},
    ),
]


@pytest.mark.parametrize(("item", "fixed", "attributes"), ENTRIES)
def test_entry(item: Address, fixed: dict[str, int], attributes: dict[str, object]):
    """An entry is a fixed part and attributes, with the numbers that `ip` and `bridge` send for it."""
    message = decoded(Operation(SET, item))[0]

    assert fixed == {name: message[name] for name in fixed}
    assert attributes == {name: message.get_attr(name) for name in attributes}


CREATE, EXCLUSIVE, REPLACE = netlink.NLM_F_CREATE, netlink.NLM_F_EXCL, netlink.NLM_F_REPLACE
FLAGS = [
    (ADD, rtnl.RTM_NEWADDR, CREATE | EXCLUSIVE),
    (SET, rtnl.RTM_NEWADDR, CREATE | REPLACE),
    (DELETE, rtnl.RTM_DELADDR, 0),
]


@pytest.mark.parametrize(("verb", "number", "flags"), FLAGS)
def test_verbs_are_flags(verb: Verb, number: int, flags: int):
    """ADD is exclusive, SET replaces, DELETE is another type of request."""
    header = decoded(Operation(verb, Address("cni0", "10.244.1.1/24")))[0]["header"]

    assert (number, flags) == (header["type"], header["flags"])


def test_deleting_a_route_leaves_its_type_open():
    """A route is deleted whatever made it (semantics 2.22): no protocol, no type, any scope."""
    message = decoded(Operation(DELETE, Route("10.9.0.0/16", "eth0", "10.0.0.9", onlink=True)))[0]

    assert (0, 0, 0, 255) == tuple(message[name] for name in ("proto", "type", "flags", "scope"))


LINK_ATTRIBUTES = [
    ("IFLA_TXQLEN", 1000),
    ("IFLA_IFNAME", "eth0"),
    ("IFLA_QDISC", "noqueue"),
    ("IFLA_LINKINFO", nested(("IFLA_INFO_XSTATS", "0a"), ("IFLA_INFO_KIND", "veth")), netlink.NLA_F_NESTED),
    ("IFLA_IFNAME", "a second one"),
    ("IFLA_ADDRESS", "02:00:00:00:00:01"),
    ("IFLA_MTU", 1450),
]
INFO = Form(ifinfmsg.ifinfo, {"IFLA_INFO_KIND": listing.text})
LINK = Form(
    ifinfmsg,
    {
        "IFLA_IFNAME": listing.text,
        "IFLA_LINKINFO": INFO.nested,
        "IFLA_ADDRESS": listing.mac,
        "IFLA_MTU": listing.number,
        "IFLA_IFALIAS": listing.text,
    },
)
READ = {"IFLA_IFNAME": "eth0", "IFLA_LINKINFO": {"IFLA_INFO_KIND": "veth"}, "IFLA_ADDRESS": "02:00:00:00:00:01", "IFLA_MTU": 1450}


@pytest.mark.parametrize("before", [0, 24])
@pytest.mark.parametrize("count", range(len(LINK_ATTRIBUTES) + 1))
def test_what_is_listed_is_read_in_part(count: int, before: int):
    """Wherever a message or an attribute stands: it is read when asked for, the first of its name, and else stepped over."""
    message = request(ifinfmsg, rtnl.RTM_NEWLINK, 0, LINK_ATTRIBUTES[:count], index=7, family=3, flags=1 << 31)
    message.encode()
    present = {name for name, *_ in LINK_ATTRIBUTES[:count]}
    values = LINK.read(bytes(before) + bytes(message.data) + bytes(24), before, len(message.data))

    assert {name: value for name, value in READ.items() if name in present} == {n: v for n, v in values.items() if n.isupper()}
    assert (3, 7, 1 << 31, 0) == tuple(values[name] for name in ("family", "index", "flags", "change"))


VALUES = [
    (listing.number, b"\x01", 1),
    (listing.number, struct.pack("=H", 0xFFFE), 0xFFFE),
    (listing.number, struct.pack("=I", 0xFFFFFFFE), 0xFFFFFFFE),
    (listing.network_number, b"\x21\x18", 8472),
    (listing.text, b"eth0\0", "eth0"),
    (listing.text, b"eth0", "eth0"),
    (listing.text, b"\xff\xfe\0", "\ufffd\ufffd"),
    (listing.text, b"", ""),
    (listing.mac, b"\x02\0\0\0\0\xab", "02:00:00:00:00:ab"),
    (listing.mac, b"", ""),
    (listing.address, bytes([10, 244, 1, 2]), "10.244.1.2"),
    (listing.address, bytes(15) + b"\1", "::1"),
]


@pytest.mark.parametrize(("read", "content", "expected"), VALUES)
def test_values_of_attributes(read: Any, content: bytes, expected: object):
    """Numbers of any width and both byte orders, names that are no text, addresses."""
    assert expected == read(content)


ATTRIBUTE = struct.Struct("=HH")  # an attribute's length and type; conntrack's values are in the network's order
ORIGINAL = nested(
    ("CTA_TUPLE_IP", nested(("CTA_IP_V4_SRC", "10.244.1.2"), ("CTA_IP_V4_DST", "10.96.0.10"))),
    ("CTA_TUPLE_PROTO", nested(("CTA_PROTO_NUM", 17), ("CTA_PROTO_SRC_PORT", 4242), ("CTA_PROTO_DST_PORT", 53))),
)


def test_what_names_a_flow_is_sent_as_it_came():
    """The tuple and id of an entry that was read make the request that deletes it, byte for byte."""
    attributes = [("CTA_TUPLE_ORIG", ORIGINAL), ("CTA_ID", 0xFFFFFFFE), ("CTA_ZONE", 7)]
    first = request(conntrack_message, 0, 0, attributes, nfgen_family=socket.AF_INET)
    entry = sent(first)
    names = [name for name, _ in attributes]
    second = request(conntrack_message, 0, 0, [(name, entry.get_attr(name)) for name in names], nfgen_family=socket.AF_INET)
    second.encode()

    assert first.data == second.data
    assert (ATTRIBUTE.pack(8, 12) + b"\xff\xff\xff\xfe") in second.data
    assert (ATTRIBUTE.pack(6, 18) + b"\x00\x07") in second.data


# ---- nft's listings
