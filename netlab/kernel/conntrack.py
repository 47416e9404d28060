"""Flows: conntrack entries listed and deleted over ctnetlink.

An entry keeps a flow's translation for as long as packets come. A UDP client that keeps sending would for ever reach an
endpoint that is gone, so kube-proxy deletes such entries (semantics 6.18). Filters are matched here, in one dump for all
of them; what matches is deleted by its original tuple and its id, so that never a newer flow with the same tuple is hit.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from netlab.errors import KernelError
from netlab.kernel import namespaces, wire
from netlab.kernel.door import FlowFilter
from netlab.kernel.netlink import BATCH, Netlink
from netlab.kernel.nft import NETLINK_NETFILTER

_GET, _DELETE = (1 << 8) | 1, (1 << 8) | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET and _DELETE
_NFGENMSG = struct.pack("=BBH", socket.AF_INET, 0, 0)
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _ZONE = 1, 2, 12, 18
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_SOURCE, _DESTINATION = 1, 2  # CTA_IP_V4_SRC, CTA_IP_V4_DST
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "sctp": 132}


@dataclass(frozen=True)
class Flow:
    """What filters look at, and what names the entry to the kernel."""

    protocol: int
    destination: str
    destination_port: int
    reply_source: str
    key: bytes  # the attributes that identify it in a request


def delete(path: str, filters: Sequence[FlowFilter]) -> int:
    """Delete the entries of a namespace that match any filter; return how many."""
    if not filters:
        return 0
    with namespaces.inside(path), Netlink(NETLINK_NETFILTER) as netlink:
        flows = [_flow(message.body) for message in netlink.dump(wire.Message(_GET, 0, _NFGENMSG))]
        doomed = [flow for flow in flows if any(matches(flow, wanted) for wanted in filters)]
        requests = [wire.Message(_DELETE, 0, _NFGENMSG + flow.key) for flow in doomed]
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


def _flow(body: bytes) -> Flow:
    attributes = wire.attributes(body, len(_NFGENMSG))
    original, reply = (_tuple(attributes.get(kind, b"")) for kind in (_TUPLE_ORIGINAL, _TUPLE_REPLY))
    key = wire.nested(_TUPLE_ORIGINAL, attributes.get(_TUPLE_ORIGINAL, b""))
    key += b"".join(wire.attribute(kind, attributes[kind]) for kind in (_ID, _ZONE) if kind in attributes)
    (_, destination, protocol, port), (reply_source, *_) = original, reply
    return Flow(protocol, destination, port, reply_source, key)


def _tuple(value: bytes) -> tuple[str, str, int, int]:
    """Return source, destination, protocol number and destination port of one direction."""
    parts = wire.attributes(value)
    addresses = wire.attributes(parts.get(_TUPLE_IP, b""))
    protocol = wire.attributes(parts.get(_TUPLE_PROTOCOL, b""))
    source, destination = (addresses.get(kind, b"\0\0\0\0") for kind in (_SOURCE, _DESTINATION))
    return (
        wire.as_ipv4(source),
        wire.as_ipv4(destination),
        wire.as_number(protocol.get(_NUMBER, b"")),
        wire.as_network_number(protocol.get(_DESTINATION_PORT, b"")),
    )
