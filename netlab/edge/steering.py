"""The way of a port without node port: to a node, with the load balancer's address still as the destination. Pure.

How it works. DNAT would change the destination, so the node is chosen by a route. nft picks a node for each new connection, as
for every other port, and writes the node's mark to the conntrack entry; all packets of the client's side get that mark, and a
routing rule (ip-rule(8)) for each mark comes before the `local` table, in which the address is the edge's own:

    100    fwmark 0x1010000/0xffff0000 lookup 10257      table 10257: default via 172.30.1.1
    200    lookup local
    32766  lookup main

A mark is the second half of the node's address: 172.30.1.1 has 0x0101. The rules exist once a port needs them, and stay as
long as this process runs: a connection that is open when the port goes, or gets a node port, keeps its way and ends by itself
(semantics 6.19). Rules of other programs are not touched. What a node answers comes from an address of the edge, which the
kernel takes for forged unless `accept_local` is set (`dataplane.fabric`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from netlab.dataplane.state import KERNEL_RULES, LOCAL_TABLE, NamespaceState, Route, Rule
from netlab.edge.frontends import Backend

HALF = 0xFFFF
MARK_SHIFT = 16  # the lower half of a packet's mark is kube-proxy's
MARK_MASK = HALF << MARK_SHIFT
FIRST_TABLE = 10000  # far from those that iproute2 gives names to
PRIORITY = 100
LOCAL_PRIORITY = 200


def mark(node: Backend) -> int:
    """Return the mark of connections that go to a node."""
    return _number(node) << MARK_SHIFT


def steering_state(nodes: Iterable[Backend], observed: NamespaceState) -> NamespaceState:
    """Return the rules and routes of these nodes, and the kernel's rules; without nodes the kernel's alone.

    `observed` says by which device a node is reached; a node on no subnet of the edge has no route, and gets no packets.
    """
    devices = [(IPv4Network(route.destination), route.device) for route in observed.connected or ()]
    routes = [
        Route("0.0.0.0/0", device, gateway=node.address, table=_table(node))
        for node in nodes
        for device in [next((name for network, name in devices if IPv4Address(node.address) in network), "")]
        if device
    ]
    numbers = [route.table - FIRST_TABLE for route in routes]
    rules = [Rule(PRIORITY, FIRST_TABLE + number, number << MARK_SHIFT, MARK_MASK) for number in numbers]
    local = Rule(LOCAL_PRIORITY, LOCAL_TABLE)
    kernels = tuple(rule for rule in KERNEL_RULES if rule.table != LOCAL_TABLE)
    return NamespaceState(routes=tuple(routes), rules=(*rules, local, *kernels) if rules else KERNEL_RULES)


def own_rules(observed: NamespaceState) -> NamespaceState:
    """Return what is observed without the rules of other programs: with those of the marks, and the kernel's."""
    rules = tuple(rule for rule in observed.rules or () if _is_own(rule))
    return replace(observed, rules=rules)


def _is_own(rule: Rule) -> bool:
    marked = rule.priority == PRIORITY and rule.mask == MARK_MASK
    return marked or rule in {*KERNEL_RULES, Rule(LOCAL_PRIORITY, LOCAL_TABLE)}


def _number(node: Backend) -> int:
    return int(IPv4Address(node.address)) & HALF


def _table(node: Backend) -> int:
    return FIRST_TABLE + _number(node)
