from __future__ import annotations

from dataclasses import replace

import pytest

from netlab.dataplane.flows import FlowFilter
from netlab.edge.frontends import Backend, Frontend
from netlab.edge.rules import Balancing, compile_rules, stale_flows
from netlab.edge.steering import mark
from netlab.family import Family
from netlab.netfilter.language import Packet
from netlab.netfilter.script import transaction
from netlab.netfilter.trace import Host, trace
from netlab.netfilter.vetting import vet

CLIENT = "203.0.113.10"
ONE, TWO = Backend("node1", "172.30.1.1"), Backend("node2", "172.30.1.2")
WEB = Frontend("default", "web", "tcp", 80, 30080, ("198.51.100.1", "198.51.100.2"))
DNS = Frontend("default", "dns", "udp", 53, 30053, ("198.51.100.1",))
CLOSED = replace(WEB, service="closed", port=81, node_port=30081, source_ranges=("203.0.113.10/32", "192.0.2.0/24"))
STICKY = replace(WEB, service="sticky", port=82, node_port=30082, affinity_timeout=60)
DIRECT = replace(CLOSED, service="direct", port=85, node_port=0)
DIRECT_UDP = replace(DNS, service="direct-dns", port=54, node_port=0)
DEAD = replace(WEB, service="dead", port=83)
DEAD_CLOSED = replace(CLOSED, service="dead-closed", port=84)
HEALTHY = {
    WEB: (ONE, TWO),
    DNS: (TWO,),
    CLOSED: (ONE,),
    STICKY: (ONE, TWO),
    DIRECT: (ONE, TWO),
    DIRECT_UDP: (ONE,),
    DEAD: (),
    DEAD_CLOSED: (),
}
BALANCING = Balancing(HEALTHY, (ONE, TWO))
RULES = compile_rules(Family.IPV4, BALANCING)
MEMORY = {name: frozenset() for name, declared in RULES.sets.items() if declared.filled_by_packets}
NODE1_MEMORY = next(name for name in MEMORY if name.endswith("node1"))
HOST = Host(frozenset({"172.30.0.1", "203.0.113.1", "198.51.100.1", "198.51.100.2"}), MEMORY, frozenset({mark(ONE), mark(TWO)}))

FLOWS = [
    ("one of the healthy nodes", CLIENT, "tcp", "198.51.100.1", 80, {"172.30.1.1:30080", "172.30.1.2:30080"}),
    ("each address", CLIENT, "tcp", "198.51.100.2", 80, {"172.30.1.1:30080", "172.30.1.2:30080"}),
    ("UDP", CLIENT, "udp", "198.51.100.1", 53, {"172.30.1.2:30053"}),
    ("the other protocol is the edge's own port", CLIENT, "udp", "198.51.100.1", 80, {"198.51.100.1:80"}),
    ("no healthy node", CLIENT, "tcp", "198.51.100.1", 83, {"reject"}),
    ("6.12 inside the ranges", CLIENT, "tcp", "198.51.100.1", 81, {"172.30.1.1:30081"}),
    ("6.12 outside the ranges", "203.0.113.11", "tcp", "198.51.100.1", 81, {"drop"}),
    ("6.12 outside the ranges, no healthy node", "203.0.113.11", "tcp", "198.51.100.1", 84, {"drop"}),
    ("affinity of a new client", CLIENT, "tcp", "198.51.100.1", 82, {"172.30.1.1:30082", "172.30.1.2:30082"}),
    ("from a node, past whom it must come back", "172.30.1.1", "tcp", "198.51.100.1", 80,
     {"172.30.1.1:30080 masqueraded", "172.30.1.2:30080 masqueraded"}),
    ("4.10 no node port", CLIENT, "tcp", "198.51.100.1", 85,
     {"198.51.100.1:85 mark 0x1010000", "198.51.100.1:85 mark 0x1020000"}),
    ("4.10 no node port, UDP", CLIENT, "udp", "198.51.100.1", 54, {"198.51.100.1:54 mark 0x1010000"}),
    ("6.12 no node port, outside the ranges", "203.0.113.11", "tcp", "198.51.100.1", 85, {"drop"}),
    ("no node port, from a node", "172.30.1.1", "udp", "198.51.100.1", 54, {"198.51.100.1:54 masqueraded mark 0x1010000"}),
    ("through the edge", CLIENT, "tcp", "172.30.1.1", 80, {"172.30.1.1:80"}),
    ("out of the lab", "172.30.1.1", "tcp", CLIENT, 80, {"203.0.113.10:80"}),
    ("from the edge itself", "203.0.113.1", "udp", "198.51.100.1", 53, {"172.30.1.2:30053"}),
]  # fmt: skip


@pytest.mark.parametrize(("why", "source", "protocol", "destination", "port", "expected"), FLOWS, ids=[row[0] for row in FLOWS])
def test_edge_packet_flow(why, source, protocol, destination, port, expected):
    """A packet goes where the table says, and keeps its source unless it comes from a node."""
    outcomes = {str(outcome) for outcome in trace([RULES], Packet(source, protocol, destination, port), HOST)}

    assert expected == outcomes, why


def test_edge_affinity_remembers():
    """A client in a node's set goes to that node only (semantics 8.7)."""
    host = replace(HOST, remembered={**MEMORY, NODE1_MEMORY: frozenset({CLIENT})})
    outcomes = {str(outcome) for outcome in trace([RULES], Packet(CLIENT, "tcp", "198.51.100.1", 82), host)}

    assert {"172.30.1.1:30082"} == outcomes


def test_edge_same_again_is_nothing():
    """A second round writes nothing, and shares the fragments."""
    again = compile_rules(Family.IPV4, BALANCING, RULES)

    assert ("", True) == (transaction(RULES, again), all(again.fragments[k] is f for k, f in RULES.fragments.items()))


def test_edge_change_touches_one_service():
    """A node that became unhealthy for one Service changes that Service's rules only."""
    changed = compile_rules(Family.IPV4, Balancing({**HEALTHY, WEB: (ONE,)}, (ONE, TWO)), RULES)
    lines = [line for line in transaction(RULES, changed).splitlines() if "default/" in line]

    assert (True, True) == (bool(lines), all("default/web/" in line for line in lines))


UDP_BOTH, UDP_ONE, UDP_NONE = (Balancing({DNS: nodes}) for nodes in ((ONE, TWO), (ONE,), ()))
STALE = [
    ("start", None, UDP_BOTH, [FlowFilter("udp", "198.51.100.1", 53)]),
    ("start, no node", None, UDP_NONE, [FlowFilter("udp", "198.51.100.1", 53)]),
    ("nothing new", UDP_BOTH, UDP_BOTH, []),
    ("6.18 a node less", UDP_BOTH, UDP_ONE, [FlowFilter("udp", "198.51.100.1", 53, "172.30.1.2")]),
    ("a node more", UDP_ONE, UDP_BOTH, []),
    ("6.18 the first node", UDP_NONE, UDP_ONE, [FlowFilter("udp", "198.51.100.1", 53)]),
    ("6.18 Service gone", UDP_ONE, Balancing({}), [FlowFilter("udp", "198.51.100.1", 53, "172.30.1.1")]),
    ("6.18 no node port", Balancing({DIRECT_UDP: (ONE, TWO)}), Balancing({DIRECT_UDP: (TWO,)}),
     [FlowFilter("udp", "198.51.100.1", 54, mark=0x1010000)]),
    ("6.18 a node port no more", UDP_ONE, Balancing({replace(DNS, node_port=0): (ONE,)}),
     [FlowFilter("udp", "198.51.100.1", 53, "172.30.1.1"), FlowFilter("udp", "198.51.100.1", 53)]),
    ("6.19 TCP", Balancing({WEB: (ONE, TWO)}), Balancing({WEB: (ONE,)}), []),
]  # fmt: skip


@pytest.mark.parametrize(("why", "old", "new", "expected"), STALE, ids=[row[0] for row in STALE])
def test_edge_stale_flows(why, old, new, expected):
    """UDP flows that would go on to the wrong place are forgotten; TCP is left alone."""
    assert expected == list(stale_flows(old, new)), why


def test_edge_long_names_have_short_chains():
    """A node may have a name of 253 characters; the kernel's names have 255, and stay apart."""
    long = ".".join(letter * 60 for letter in "abcd")
    nodes = [Backend(f"{long}.x", "172.30.1.1"), Backend(f"{long}.y", "172.30.1.2")]
    service = Frontend("n" * 63, "s" * 63, "tcp", 65535, 30080, ("198.51.100.1",), ("10.0.0.0/8",), 60)
    ruleset = compile_rules(Family.IPV4, Balancing({service: tuple(nodes)}, tuple(nodes)))

    assert max(map(len, (*ruleset.chains, *ruleset.sets))) <= 255
    assert 2 == len([name for name in ruleset.chains if name.startswith("node-")])
    assert {} == vet(ruleset, {})[1]
