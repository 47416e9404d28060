"""Netlink's messages: pyroute2's classes, and none of the rest of pyroute2.

What: requests are instances of these classes, filled and `encode()`d; answers are instances made from the kernel's bytes
and `decode()`d. An attribute is decoded when `get_attr()` asks for it. What is listed a lot is read by `listing` instead.

Why not `import pyroute2`: its `__init__` imports all of it, databases and asyncio sockets included: 0.25 s and 27 MB, and a
lab is to be up in 1.5 s with all its processes below 150 MB. The four classes of rtnetlink alone cost 0.03 s and 4.5 MB
in a process that has `logging` and `socket` already. So, while they are imported, an empty package stands for `pyroute2`;
then it is removed, and a later import of pyroute2 gets the whole of it, with these same classes. A process that has
imported pyroute2 before is left alone.

The messages of conntrack and nftables are declared here, in pyroute2's way: pyroute2 has them beside its asyncio sockets
(0.04 s and 2 to 10 MB more), and we need a dozen attributes of them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def _empty_package(name: str) -> Iterator[None]:
    """Let modules below a package be imported without running the package's own `__init__`."""
    specification = None if name in sys.modules else importlib.util.find_spec(name)
    if specification is None:  # imported already; or not installed, which the import reports best
        yield
        return
    sys.modules[name] = importlib.util.module_from_spec(specification)
    try:
        yield
    finally:
        del sys.modules[name]


with _empty_package("pyroute2"):
    from pyroute2 import netlink
    from pyroute2.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, rtnl
    from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_NFTABLES, nfgen_msg
    from pyroute2.netlink.rtnl.fibmsg import fibmsg
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP, ifinfmsg, ifinfveth
    from pyroute2.netlink.rtnl.ndmsg import NTF_SELF, NUD_PERMANENT, ndmsg
    from pyroute2.netlink.rtnl.ndtmsg import ndtmsg
    from pyroute2.netlink.rtnl.rtmsg import RTNH_F_ONLINK, rtmsg

__all__ = (
    "IFF_UP",
    "NETLINK_NETFILTER",
    "NETLINK_ROUTE",
    "NFNL_SUBSYS_CTNETLINK",
    "NFNL_SUBSYS_NFTABLES",
    "NTF_SELF",
    "NUD_PERMANENT",
    "RTNH_F_ONLINK",
    "Attribute",
    "Message",
    "conntrack_message",
    "fibmsg",
    "generation_message",
    "ifaddrmsg",
    "ifinfmsg",
    "ndmsg",
    "ndtmsg",
    "nested",
    "netlink",
    "request",
    "rtmsg",
    "rtnl",
)

Message = Any  # one of pyroute2's classes, which have no types
Attribute = tuple[str, object]  # a name of the class's `nla_map` and a value: a number, a text, or what `nested` returns


def request(kind: type[Message], number: int, flags: int, attributes: Sequence[Attribute] = (), /, **fields: int) -> Message:
    """Return a message ready to be sent: its class, its type's number, flags, attributes, and the fields of its fixed part."""
    message = kind()
    message["header"] = {"type": number, "flags": flags}
    message.update(fields)
    message["attrs"] = list(attributes)
    return message


def nested(*attributes: Attribute) -> object:
    """Return the value of an attribute that holds attributes."""
    return {"attrs": list(attributes)}


class conntrack_message(nfgen_msg):  # type: ignore[misc]  # noqa: N801
    """A conntrack entry: the tuples of both directions, and what distinguishes it from another of the same tuple."""

    nla_map = (
        (1, "CTA_TUPLE_ORIG", "tuple"),
        (2, "CTA_TUPLE_REPLY", "tuple"),
        (8, "CTA_MARK", "be32"),
        (12, "CTA_ID", "be32"),
        (18, "CTA_ZONE", "be16"),
        (25, "CTA_FILTER", "filter"),
    )

    class filter(netlink.nla):  # type: ignore[misc]  # noqa: N801, A001
        nla_flags = netlink.NLA_F_NESTED  # younger attributes are refused without it
        nla_map = (
            ("CTA_FILTER_UNSPEC", "none"),
            ("CTA_FILTER_ORIG_FLAGS", "uint32"),
            ("CTA_FILTER_REPLY_FLAGS", "uint32"),
        )

    class tuple(netlink.nla):  # type: ignore[misc]  # noqa: N801, A001
        nla_map = (("CTA_TUPLE_UNSPEC", "none"), ("CTA_TUPLE_IP", "ip"), ("CTA_TUPLE_PROTO", "protocol"))

        class ip(netlink.nla):  # type: ignore[misc]  # noqa: N801
            nla_map = (("CTA_IP_UNSPEC", "none"), ("CTA_IP_V4_SRC", "ip4addr"), ("CTA_IP_V4_DST", "ip4addr"))

        class protocol(netlink.nla):  # type: ignore[misc]  # noqa: N801
            nla_map = (
                ("CTA_PROTO_UNSPEC", "none"),
                ("CTA_PROTO_NUM", "uint8"),
                ("CTA_PROTO_SRC_PORT", "be16"),
                ("CTA_PROTO_DST_PORT", "be16"),
                ("CTA_PROTO_ICMP_ID", "be16"),
                ("CTA_PROTO_ICMP_TYPE", "uint8"),
                ("CTA_PROTO_ICMP_CODE", "uint8"),
            )


class generation_message(nfgen_msg):  # type: ignore[misc]  # noqa: N801
    """The generation of an nftables ruleset."""

    nla_map = (("NFTA_GEN_UNSPEC", "none"), ("NFTA_GEN_ID", "be32"))


# pyroute2 compiles a class's table of attributes when the first instance is made. Here that is before a lab's processes are
# forked, which then share the tables: 3 MB less in all.
_INFO = ifinfmsg.ifinfo
_INFO_DATA = (_INFO.data_map[name] for name in ("veth", "bridge", "bridge_slave", "vxlan"))
for _kind in (ifinfmsg, ifinfveth, _INFO, *_INFO_DATA, ifaddrmsg, rtmsg, ndmsg, netlink.nlmsgerr):
    _kind()
