"""Flows of conntrack, and the filter that says which of them to delete. Pure.

Theory. conntrack has one entry per flow, with two tuples: the packets as the client sends them,
and the answers as the server sends them. After DNAT the two differ:

    original   10.244.1.9:40000 -> 10.96.0.10:53     `destination`, `destination_port`: the Service
    reply      10.244.2.5:5353  -> 10.244.1.9:40000  `reply_source`: the endpoint
    mark       0x01010000                            `mark`: the node, at the edge (`edge.steering`)

The kernel repeats the translation of a flow's first packet for all others. A UDP client that keeps
its port therefore keeps its endpoint, also one that is gone, until the entry is deleted
(semantics 6.18). Three shapes of filter occur:

    destination, port                every flow to a port: it is gone, or had no endpoint until now
    destination, port, reply_source  the flows of a port to one endpoint, or from the edge to a node
    destination, port, mark          the flows that the edge routes to one node

`netlab.proxy.conntrack` and `netlab.edge.rules` decide; `netlab.kernel` deletes. The names follow
the attributes of ctnetlink (linux/netfilter/nfnetlink_conntrack.h): CTA_TUPLE_ORIG,
CTA_TUPLE_REPLY and CTA_MARK.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from netlab.api.values import Ip

AnyAddress = Literal[""]


@dataclass(frozen=True)
class Flow:
    """What a filter compares of an entry. `protocol` is a name in lower case, or else a number."""

    protocol: str
    destination: str
    destination_port: int
    reply_source: str
    mark: int = 0


@dataclass(frozen=True)
class FlowFilter:
    """Which flows to delete: those that match all fields; an empty one or 0 matches every flow."""

    protocol: str = "udp"  # always compared
    destination: Ip | AnyAddress = ""
    destination_port: int = 0
    reply_source: Ip | AnyAddress = ""
    mark: int = 0

    def matches(self, flow: Flow) -> bool:
        """Return whether a flow has what all given fields say."""
        return (
            self.protocol == flow.protocol
            and self.destination in {"", flow.destination}
            and self.destination_port in {0, flow.destination_port}
            and self.reply_source in {"", flow.reply_source}
            and self.mark in {0, flow.mark}
        )
