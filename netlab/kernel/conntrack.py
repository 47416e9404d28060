"""Flows: conntrack entries listed and deleted over ctnetlink.

An entry keeps a flow's translation for as long as packets come. A UDP client that keeps sending would for ever reach an
endpoint that is gone, so kube-proxy deletes such entries (semantics 6.18). Filters are matched here, in one dump for all
of them; what matches is deleted by its original tuple and its id, so that never a newer flow with the same tuple is hit.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from netlab.errors import KernelError
from netlab.kernel import namespaces
from netlab.kernel.codecs import NETLINK_NETFILTER, NFNL_SUBSYS_CTNETLINK, Attribute, Message, conntrack_message, request
from netlab.kernel.door import FlowFilter
from netlab.kernel.netlink import BATCH, Netlink, question

_GET, _DELETE = (NFNL_SUBSYS_CTNETLINK << 8) | 1, (NFNL_SUBSYS_CTNETLINK << 8) | 2  # IPCTNL_MSG_CT_GET and _DELETE
_KEY = ("CTA_TUPLE_ORIG", "CTA_ID", "CTA_ZONE")  # what names an entry in a request
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}


@dataclass(frozen=True)
class Flow:
    """What filters look at."""

    protocol: int
    destination: str
    destination_port: int
    reply_source: str


def delete(path: str, filters: Sequence[FlowFilter]) -> int:
    """Delete the entries of a namespace that match any filter; return how many."""
    if not filters:
        return 0
    with namespaces.inside(path), Netlink(NETLINK_NETFILTER) as netlink:
        entries = netlink.dump(question(request(conntrack_message, _GET, 0, nfgen_family=socket.AF_INET)))
        doomed = [entry for entry in entries if any(matches(_flow(entry), wanted) for wanted in filters)]
        requests = [request(conntrack_message, _DELETE, 0, _key(entry), nfgen_family=socket.AF_INET) for entry in doomed]
        answers = [a for start in range(0, len(requests), BATCH) for a in netlink.transact(requests[start : start + BATCH])]
    for answer in answers:
        if answer.errno not in {0, errno.ENOENT}:  # it may have ended meanwhile
            message = f"The kernel refused to delete a conntrack entry in {path}: {os.strerror(answer.errno)}."
            raise KernelError(message, errno=answer.errno)
    return sum(answer.errno == 0 for answer in answers)


def matches(flow: Flow, wanted: FlowFilter) -> bool:
    """Tell whether all given fields of a filter match."""
    return (
        flow.protocol == PROTOCOLS[wanted.protocol.lower()]
        and wanted.destination in {"", flow.destination}
        and wanted.destination_port in {0, flow.destination_port}
        and wanted.reply_source in {"", flow.reply_source}
    )


def _flow(entry: Message) -> Flow:
    original, reply = entry.get_attr("CTA_TUPLE_ORIG"), entry.get_attr("CTA_TUPLE_REPLY")
    protocol = original.get_attr("CTA_TUPLE_PROTO")
    return Flow(
        protocol=protocol.get_attr("CTA_PROTO_NUM"),
        destination=original.get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_DST"),
        destination_port=protocol.get_attr("CTA_PROTO_DST_PORT", 0),
        reply_source=reply.get_attr("CTA_TUPLE_IP").get_attr("CTA_IP_V4_SRC"),
    )


def _key(entry: Message) -> list[Attribute]:
    return [(name, entry.get_attr(name)) for name in _KEY if entry.get_attr(name) is not None]
