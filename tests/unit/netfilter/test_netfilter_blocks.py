from __future__ import annotations

from dataclasses import replace

import pytest

from netlab.family import Family
from netlab.netfilter import blocks
from netlab.netfilter.language import Packet
from netlab.netfilter.ruleset import Chain, Fragment, Ruleset
from netlab.netfilter.trace import Host, trace
from netlab.netfilter.vetting import vet

CLIENT, FIRST, SECOND = "203.0.113.10", "10.244.1.5", "10.244.2.5"
ONE, TWO = (blocks.Target(Family.IPV4, "endpoint", base, 60) for base in ("one", "two"))
PACKET = Packet(CLIENT, "tcp", "10.96.0.1", 80)
KEY = blocks.concatenation(PACKET.destination, PACKET.protocol, PACKET.port)


def table(*rules: str, verdict: str = "goto service") -> Ruleset:
    """A table with one Service, whose chain has some rules before it balances to two endpoints."""
    chains = (
        Chain(
            "prerouting",
            (blocks.by_address(Family.IPV4).look_up("services"),),
            blocks.NAT_PREROUTING,
        ),
        Chain("postrouting", blocks.MASQUERADE_MARKED, blocks.NAT_POSTROUTING),
        Chain("service", (*rules, *blocks.balance([ONE, TWO]))),
        *(
            Chain(target.chain, (*target.remember(), blocks.dnat(Family.IPV4, "tcp", address, 8080)))
            for target, address in ((ONE, FIRST), (TWO, SECOND))
        ),
        blocks.MARKING,
        blocks.reject_chain(),
    )
    sets = (blocks.by_address(Family.IPV4).map("services"), *blocks.affinity_sets([ONE, TWO]))
    return Ruleset.of("ip", "t", Fragment.of(chains, sets, {"services": {KEY: verdict}}))


NEW_CLIENT, KNOWN_CLIENT = ({ONE.clients: clients} for clients in (frozenset(), frozenset({CLIENT})))
WAYS = [
    ("any target, each as likely", table(), NEW_CLIENT, {f"{FIRST}:8080", f"{SECOND}:8080"}),
    ("the target that remembers the client", table(), KNOWN_CLIENT, {f"{FIRST}:8080"}),
    ("masqueraded, and the mark is cleared", table(blocks.MARK_FOR_MASQUERADE), KNOWN_CLIENT,
     {f"{FIRST}:8080 masqueraded"}),
    ("inside the source ranges", table(blocks.only_from(Family.IPV4, ["203.0.113.0/24", "192.0.2.1"])), KNOWN_CLIENT,
     {f"{FIRST}:8080"}),
    ("outside the source ranges", table(blocks.only_from(Family.IPV4, ["192.0.2.0/24"])), KNOWN_CLIENT, {"drop"}),
    ("refused", table(verdict=blocks.REJECT), KNOWN_CLIENT, {"reject"}),
]  # fmt: skip


@pytest.mark.parametrize(("what", "ruleset", "remembered", "expected"), WAYS)
def test_packet_takes_its_way_through_the_blocks(what, ruleset, remembered, expected) -> None:
    """The blocks of a table fit together: each step leads to the next (semantics 8.3 to 8.10)."""
    outcomes = trace([ruleset], PACKET, Host(frozenset(), remembered))

    assert expected == {str(outcome) for outcome in outcomes}, what
    assert {} == vet(ruleset, {})[1]


def test_dispatch_by_port_serves_any_address() -> None:
    """A map of ports has no address in its key."""
    chain = Chain("prerouting", (blocks.BY_PORT.look_up("ports"),), blocks.NAT_PREROUTING)
    ports = {blocks.concatenation("udp", 30053): "drop"}
    ruleset = Ruleset.of("ip", "t", Fragment.of([chain], [blocks.BY_PORT.map("ports")], {"ports": ports}))
    packets = [Packet(CLIENT, "udp", address, 30053) for address in ("172.30.1.1", "172.30.1.2")]

    assert ["drop", "drop"] == [str(*trace([ruleset], packet, Host(frozenset()))) for packet in packets]


def test_target_without_affinity_has_no_set() -> None:
    """Only session affinity needs sets and the rules that read and write them."""
    plain = [replace(target, affinity_timeout=0) for target in (ONE, TWO)]

    assert ([], ()) == (blocks.affinity_sets(plain), plain[0].remember())
    assert ("numgen random mod 2 vmap { 0 : goto endpoint-one, 1 : goto endpoint-two }",) == blocks.balance(plain)


@pytest.mark.parametrize(("name", "expected"), [("abcdefgh", "abcdefgh"), ("abcdefghi", "abcde...")])
def test_long_name_is_cut(name: str, expected: str) -> None:
    """A cut name ends with three dots and has the greatest length."""
    assert expected == blocks.shortened(name, 8)
