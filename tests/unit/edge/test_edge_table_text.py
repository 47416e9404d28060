"""The text of the edge's whole table, for Services of every kind."""

from __future__ import annotations

from pathlib import Path

from netlab.edge.frontends import Backend, Frontend
from netlab.edge.rules import Balancing, compile_rules
from netlab.family import Family
from netlab.netfilter.script import render

ONE, TWO = Backend("node1", "172.30.1.1"), Backend("node2", "172.30.1.2")
FIRST, SECOND = "198.51.100.1", "198.51.100.2"
RANGES = ("192.0.2.0/24", "203.0.113.10/32")
BALANCING = Balancing(
    {
        Frontend("default", "web", "tcp", 80, 30080, (FIRST, SECOND)): (ONE, TWO),
        Frontend("default", "sticky", "tcp", 81, 30081, (FIRST,), RANGES, 60): (ONE, TWO),
        Frontend("default", "direct", "udp", 53, 0, (SECOND,), affinity_timeout=10800): (ONE,),
        Frontend("default", "dead", "sctp", 82, 30082, (SECOND,), RANGES): (),
        Frontend("n" * 63, "s" * 63, "tcp", 65535, 30083, (FIRST,)): (Backend("a" * 250, ONE.address),),
    },
    (ONE, TWO),
)
EXPECTED = Path(__file__).with_name("netlab-edge.nft")


def test_edge_table_is_this_text() -> None:
    """The file holds what nft receives; a change of the text replaces the rules of running labs."""
    assert EXPECTED.read_text() == render(compile_rules(Family.IPV4, BALANCING))
