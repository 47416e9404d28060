"""Source ports for datagrams: each probe is a separate flow.

A check tests what the rules do with a new flow. Conntrack treats every packet of a flow that it remembers as it treated the
first, whatever the rules are today: it remembers a question for half a minute, an exchange for two. A port that the kernel picks
at random is an earlier probe's, or another client's, once in a few hundred questions; then a fault is found that has been
repaired, or one is not found that is there. So ports are taken in turn, without those of flows that the lab's hosts remember.

TCP needs no such care: the kernel assigns its ports in turn, and a SYN opens a flow that has ended again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import cycle

PORTS = range(32768, 61000)  # those that Linux assigns by itself (net.ipv4.ip_local_port_range)


def source_ports(taken: Collection[int], seed: int, ports: range = PORTS) -> Iterator[int]:
    """Yield all ports but those taken, from one that depends on the seed on; again and again, as the oldest flows end first.

    If all ports are taken, all of them are used.
    """
    free = [port for port in ports if port not in taken] or list(ports)
    start = seed % len(free)
    return cycle((*free[start:], *free[:start]))
