"""The kernel's table of neighbor (ARP) entries: how full it may get, and how to take learned entries out of it.

There is one table for all network namespaces of a machine. Entries that the kernel learned count against its limit,
net.ipv4.neigh.default.gc_thresh3 (1,024 unless it was raised); permanent ones do not. At the limit the kernel first drops
entries that are older than 5 s. When that is not enough, the table overflows: the kernel gives up the packet that needed an
entry, with ENOBUFS where a sender waits for the result, else silently.

The setting can be read in the machine's own namespace only, and so can /proc/net/stat/arp_cache. RTM_GETNEIGHTBL has the same
numbers (`ip -s ntable`) in every namespace, and needs no privilege.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection

from netlab.kernel import listing
from netlab.kernel.codecs import NETLINK_ROUTE, ndmsg, ndtmsg, request, rtnl
from netlab.kernel.door import NeighbourTable
from netlab.kernel.listing import Form
from netlab.kernel.netlink import Netlink, question

# An entry in another state is being resolved, and packets wait for it, or it has failed, and the kernel drops it first.
USABLE = 0x02 | 0x04 | 0x08 | 0x10  # linux/neighbour.h: NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE
_TABLE_FULLS = struct.Struct("=80xQ")  # of struct ndt_stats, in its eleventh place; kernels before 4.2 have ten


def _overflows(value: bytes) -> int:
    return int(_TABLE_FULLS.unpack_from(value)[0]) if len(value) >= _TABLE_FULLS.size else 0


_TABLE = Form(ndtmsg, {"NDTA_NAME": listing.text, "NDTA_THRESH3": listing.number, "NDTA_STATS": _overflows})
_ENTRY = Form(ndmsg, {"NDA_DST": listing.address})
_TABLES = question(request(ndtmsg, rtnl.RTM_GETNEIGHTBL, 0, family=socket.AF_INET), _TABLE.read)
_ENTRIES = question(request(ndmsg, rtnl.RTM_GETNEIGH, 0, family=socket.AF_INET), _ENTRY.read)


def table() -> NeighbourTable:
    """Return the limit of the table and how often it has overflowed since the machine booted."""
    with Netlink(NETLINK_ROUTE) as netlink:
        for message in netlink.dump(_TABLES):
            if message.get("NDTA_NAME") == "arp_cache" and "NDTA_THRESH3" in message:
                return NeighbourTable(message["NDTA_THRESH3"], message.get("NDTA_STATS", 0))
    return NeighbourTable()


def forget(netlink: Netlink, addresses: Collection[str]) -> int:
    """Delete the entries of some addresses that the kernel of a namespace has learned; return how many there were."""
    learned = [m for m in netlink.dump(_ENTRIES) if m["state"] & USABLE and m.get("NDA_DST") in addresses]
    deletions = [
        request(ndmsg, rtnl.RTM_DELNEIGH, 0, [("NDA_DST", m["NDA_DST"])], family=socket.AF_INET, ifindex=m["ifindex"])
        for m in learned
    ]
    if deletions:
        netlink.transact(deletions)  # one that is gone by now is not an error
    return len(deletions)
