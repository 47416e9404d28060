"""Flows: conntrack entries listed and deleted over ctnetlink.

An entry keeps a flow's translation for as long as packets come. A UDP client that keeps sending would for ever reach an
endpoint that is gone, so kube-proxy deletes such entries (semantics 6.18). The kernel is asked for the entries that match
a filter (CTA_FILTER, Linux 5.8), so that a table of a hundred thousand others costs nothing to read; what matches is
deleted by its original tuple and its id, so that never a newer flow with the same tuple is hit.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from netlab.dataplane.flows import Flow, FlowFilter
from netlab.errors import KernelError
from netlab.kernel import listing, namespaces
from netlab.kernel.codecs import NETLINK_NETFILTER, NFNL_SUBSYS_CTNETLINK, Attribute, Message, conntrack_message, nested, request
from netlab.kernel.listing import Form
from netlab.kernel.netlink import BATCH, Netlink, question, whole

_GET, _DELETE = (NFNL_SUBSYS_CTNETLINK << 8) | 1, (NFNL_SUBSYS_CTNETLINK << 8) | 2  # IPCTNL_MSG_CT_GET and _DELETE
_KEY = ("CTA_TUPLE_ORIG", "CTA_ID", "CTA_ZONE")  # what names an entry in a request
_BY_DESTINATION, _BY_PROTOCOL, _BY_DESTINATION_PORT, _BY_SOURCE = 1 << 1, 1 << 3, 1 << 5, 1 << 0  # CTA_FILTER_F_CTA_*
_PROTOCOL = Form(
    conntrack_message.tuple.protocol,
    {"CTA_PROTO_NUM": listing.number, "CTA_PROTO_SRC_PORT": listing.network_number},
)
_TUPLE = Form(conntrack_message.tuple, {"CTA_TUPLE_PROTO": _PROTOCOL.nested})
_ENTRY = Form(conntrack_message, {"CTA_TUPLE_ORIG": _TUPLE.nested})  # there may be thousands
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}
NAMES = {number: name for name, number in PROTOCOLS.items()}


def delete(path: str, filters: Sequence[FlowFilter]) -> int:
    """Delete the entries of a namespace that match any filter; return how many."""
    if not filters:
        return 0
    with namespaces.inside(path), Netlink(NETLINK_NETFILTER) as netlink:
        found = {_identity(entry): entry for wanted in dict.fromkeys(filters) for entry in _matching(netlink, wanted)}
        doomed = list(found.values())
        requests = [request(conntrack_message, _DELETE, 0, _key(entry), nfgen_family=socket.AF_INET) for entry in doomed]
        answers = [a for start in range(0, len(requests), BATCH) for a in netlink.transact(requests[start : start + BATCH])]
    for answer in answers:
        if answer.errno not in {0, errno.ENOENT}:  # it may have ended in the meantime
            message = f"The kernel refused to delete a conntrack entry in {path}: {os.strerror(answer.errno)}."
            raise KernelError(message, errno=answer.errno)
    return sum(answer.errno == 0 for answer in answers)


def source_ports(path: str, protocol: str) -> frozenset[int]:
    """Return the source ports of a namespace's flows of a protocol, as their clients sent them."""
    asked = request(conntrack_message, _GET, 0, _selection(FlowFilter(protocol)), nfgen_family=socket.AF_INET)
    with namespaces.inside(path), Netlink(NETLINK_NETFILTER) as netlink:
        entries = netlink.dump(question(asked, _ENTRY.read))
    clients = [entry["CTA_TUPLE_ORIG"]["CTA_TUPLE_PROTO"] for entry in entries]
    return frozenset(client["CTA_PROTO_SRC_PORT"] for client in clients if client["CTA_PROTO_NUM"] == PROTOCOLS[protocol])


def _matching(netlink: Netlink, wanted: FlowFilter) -> list[Message]:
    """Return the entries of a filter: the kernel looks through its table, and we make sure."""
    attributes = _selection(wanted)
    asked = request(conntrack_message, _GET, 0, attributes, nfgen_family=socket.AF_INET)
    entries = netlink.dump(question(asked, whole(conntrack_message)))
    return [entry for entry in entries if wanted.matches(_flow(entry))]


def _selection(wanted: FlowFilter) -> list[Attribute]:
    """Return a filter as the kernel takes it: the tuples to compare with, and flags for the fields that count."""
    protocol: list[Attribute] = [("CTA_PROTO_NUM", PROTOCOLS[wanted.protocol])]
    original, flags = [("CTA_TUPLE_PROTO", nested(*protocol))], _BY_PROTOCOL
    if wanted.destination_port:
        original = [("CTA_TUPLE_PROTO", nested(*protocol, ("CTA_PROTO_DST_PORT", wanted.destination_port)))]
        flags |= _BY_DESTINATION_PORT
    if wanted.destination:
        original.append(("CTA_TUPLE_IP", nested(("CTA_IP_V4_DST", wanted.destination))))
        flags |= _BY_DESTINATION
    chosen: list[Attribute] = [("CTA_TUPLE_ORIG", nested(*original))]
    reply_flags = 0
    if wanted.reply_source:
        chosen.append(("CTA_TUPLE_REPLY", nested(("CTA_TUPLE_IP", nested(("CTA_IP_V4_SRC", wanted.reply_source))))))
        reply_flags = _BY_SOURCE
    return [*chosen, ("CTA_FILTER", nested(("CTA_FILTER_ORIG_FLAGS", flags), ("CTA_FILTER_REPLY_FLAGS", reply_flags)))]


def _identity(entry: Message) -> tuple[int, Flow]:
    return entry.get_attr("CTA_ID"), _flow(entry)


def _flow(entry: Message) -> Flow:
    original, reply = entry.get_attr("CTA_TUPLE_ORIG"), entry.get_attr("CTA_TUPLE_REPLY")
    protocol = original.get_attr("CTA_TUPLE_PROTO")
    number = protocol.get_attr("CTA_PROTO_NUM")
    return Flow(
        protocol=NAMES.get(number, str(number)),
        destination=original.get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_DST"),
        destination_port=protocol.get_attr("CTA_PROTO_DST_PORT", 0),
        reply_source=reply.get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_SRC"),
        mark=entry.get_attr("CTA_MARK", 0),
    )


def _key(entry: Message) -> list[Attribute]:
    return [(name, entry.get_attr(name)) for name in _KEY if entry.get_attr(name) is not None]
