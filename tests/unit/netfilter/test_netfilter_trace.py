from __future__ import annotations

from dataclasses import replace

import pytest

from netlab.errors import NetlabError
from netlab.netfilter.language import Context, Kind, Packet, Step, UnknownRuleError, Verdict, evaluate
from netlab.netfilter.ruleset import Base, Chain, ChainType, Fragment, Hook, Ruleset, Set
from netlab.netfilter.trace import Host, trace

PACKET = Packet("10.244.1.2", "tcp", "10.96.0.5", 80)
CONTEXT = Context(
    Fragment.of(
        (),
        (Set("clients", "ipv4_addr", ("dynamic",)), Set("plain", "ipv4_addr"), Set("m", "...")),
        {"plain": {"10.96.0.5": ""}, "m": {"10.96.0.5 . tcp . 80": "goto x", "tcp . 80": "drop"}},
    ),
    frozenset({"172.30.1.1"}),
)
YES, NO = "drop", ""

MATCHES = [
    ("ip saddr 10.244.1.2", YES),
    ("ip saddr 10.244.0.0/16", YES),
    ("ip saddr != 10.244.0.0/16", NO),
    ("ip saddr 10.244.1.20", NO),
    ("ip saddr { 10.0.0.0/24, 10.244.1.2 }", YES),
    ("ip saddr != { 10.0.0.0/24, 10.244.1.2 }", NO),
    ("ip daddr @plain", YES),
    ("ip saddr @plain", NO),
    ("ip daddr 10.96.0.5 tcp dport 80", YES),
    ("ip daddr 10.96.0.5 tcp dport 8080", NO),
    ("udp dport 80", NO),
    ("fib saddr type local", NO),
    ("ct state new", YES),
    ("ct state established,related", NO),
    ("meta mark & 0x4000 == 0", YES),
    ("meta mark & 0x4000 == 0x4000", NO),
    ("meta mark & 0x4000 != 0x4000", YES),
    ("meta mark 0x4000", NO),
    ("meta l4proto tcp", YES),
    ("meta l4proto udp", NO),
]


@pytest.mark.parametrize(("rule", "expected"), MATCHES)
def test_a_rule_decides_when_all_its_terms_match(rule: str, expected: str) -> None:
    """A match that fails ends the rule; when all succeed it decides."""
    verdict = evaluate(f"{rule} drop", PACKET, CONTEXT)[0].verdict

    assert expected == (verdict.kind.value if verdict else "")


CHANGES = [
    ("meta mark set meta mark | 0x4000", Step(Packet("10.244.1.2", "tcp", "10.96.0.5", 80, mark=0x4000))),
    ("meta mark set meta mark ^ 0x4000", Step(Packet("10.244.1.2", "tcp", "10.96.0.5", 80, mark=0x4000))),
    ("update @clients { ip saddr }", Step(PACKET)),
    (
        "meta l4proto tcp dnat to 10.244.2.3:8080",
        Step(Packet("10.244.1.2", "tcp", "10.244.2.3", 8080, translated=True), Verdict(Kind.ACCEPT)),
    ),
    (
        "masquerade fully-random",
        Step(Packet("10.244.1.2", "tcp", "10.96.0.5", 80, masqueraded=True), Verdict(Kind.ACCEPT)),
    ),
    ("ip daddr . meta l4proto . th dport vmap @m", Step(PACKET, Verdict(Kind.GOTO, "x"))),
    ("meta l4proto . th dport vmap @m", Step(PACKET, Verdict(Kind.DROP))),
    ('goto x comment "short-circuit pod traffic"', Step(PACKET, Verdict(Kind.GOTO, "x"))),
]


@pytest.mark.parametrize(("rule", "expected"), CHANGES)
def test_a_rule_changes_the_packet(rule: str, expected: Step) -> None:
    """Marks, translations and lookups do what nft's manual says."""
    assert (expected,) == evaluate(rule, PACKET, CONTEXT)


@pytest.mark.parametrize(("mark", "expected"), [(0, ()), (0x4000, ("drop",)), (0xC000, ())])
def test_a_mark_alone_is_the_whole_mark(mark: int, expected: tuple[str, ...]) -> None:
    """Without a mask all bits count, as flannel's rule has it."""
    steps = evaluate("meta mark 0x4000 drop", replace(PACKET, mark=mark), CONTEXT)

    assert expected == tuple(step.verdict.kind.value for step in steps if step.verdict)


def test_chance_gives_every_verdict() -> None:
    """A random choice yields all its branches."""
    steps = evaluate("numgen random mod 2 vmap { 0 : goto a, 1 : goto b }", PACKET, CONTEXT)

    assert [Verdict(Kind.GOTO, "a"), Verdict(Kind.GOTO, "b")] == [step.verdict for step in steps]


def test_an_unknown_client_may_stick_or_not() -> None:
    """A set filled by packets matches both ways unless its content is given."""
    assert {None, Verdict(Kind.DROP)} == {s.verdict for s in evaluate("ip saddr @clients drop", PACKET, CONTEXT)}


UNKNOWN = [
    "ip ttl 3 drop",
    "dropp",
    "ip saddr 10.0.0.1 log drop",
    "numgen random mod 2 vmap { 0 : goto a }",
    "tcp dport 80-90 drop",
]


@pytest.mark.parametrize("rule", UNKNOWN)
def test_an_unknown_term_is_refused(rule: str) -> None:
    """A rule that the tracer does not understand fails the test that uses it."""
    with pytest.raises(UnknownRuleError):
        evaluate(rule.replace("10.0.0.1", "10.244.1.2"), PACKET, CONTEXT)


def base(name: str, hook: Hook, rules: tuple[str, ...], *, priority: int = 0, kind: ChainType = ChainType.FILTER) -> Chain:
    return Chain(name, rules, Base(kind, hook, priority))


HOST = Host(frozenset({"172.30.1.1"}))
AWAY = Packet("10.0.0.1", "tcp", "10.0.0.2", 80)
HERE = Packet("10.0.0.1", "tcp", "172.30.1.1", 80)
MINE = Packet("172.30.1.1", "tcp", "10.0.0.2", 80)
SELF = Packet("172.30.1.1", "tcp", "172.30.1.1", 80)
HOOKS = [
    (Hook.PREROUTING, {"away": "drop", "here": "drop", "mine": "accept", "self": "drop"}),
    (Hook.INPUT, {"away": "accept", "here": "drop", "mine": "accept", "self": "drop"}),
    (Hook.FORWARD, {"away": "drop", "here": "accept", "mine": "accept", "self": "accept"}),
    (Hook.OUTPUT, {"away": "accept", "here": "accept", "mine": "drop", "self": "drop"}),
    (Hook.POSTROUTING, {"away": "drop", "here": "accept", "mine": "drop", "self": "drop"}),
]


@pytest.mark.parametrize(("hook", "expected"), HOOKS, ids=[h.value for h, _ in HOOKS])
def test_a_packet_passes_the_hooks_of_its_way(hook: Hook, expected: dict[str, str]) -> None:
    """A chain at a hook sees the packets whose way leads past it, and no others."""
    table = Ruleset.of("ip", "t", Fragment.of([base("c", hook, ("drop",))]))
    packets = {"away": AWAY, "here": HERE, "mine": MINE, "self": SELF}

    assert expected == {name: str(trace([table], p, HOST)[0].verdict.value) for name, p in packets.items()}


def test_accept_ends_one_chain_only() -> None:
    """A later base chain may still drop what an earlier one accepted."""
    chains = [base("late", Hook.FORWARD, ("drop",), priority=1), base("early", Hook.FORWARD, ("accept", "drop"))]

    assert [Kind.DROP] == [o.verdict for o in trace([Ruleset.of("ip", "t", Fragment.of(chains))], AWAY, HOST)]


def test_the_first_translation_wins() -> None:
    """Once a nat chain has translated, other nat chains of the hook are not asked, whichever table they are in."""
    tables = [
        Ruleset.of("ip", name, Fragment.of([base("n", Hook.PREROUTING, (f"dnat to {target}",), kind=ChainType.NAT)]))
        for name, target in (("one", "10.0.0.3"), ("two", "10.0.0.4"))
    ]

    assert ["10.0.0.3:80"] == [str(o) for o in trace(tables, AWAY, HOST)]


def test_later_packets_of_a_flow_pass_no_nat_chain() -> None:
    """A nat chain is asked about the first packet of a flow only."""
    table = Ruleset.of("ip", "t", Fragment.of([base("n", Hook.PREROUTING, ("dnat to 10.0.0.3",), kind=ChainType.NAT)]))

    later = Packet("10.0.0.1", "tcp", "10.0.0.2", 80, state="established")

    assert ["10.0.0.2:80"] == [str(o) for o in trace([table], later, HOST)]


def test_jump_comes_back_and_goto_does_not() -> None:
    """After `jump` the next rule runs; after `goto` the caller's next rule does."""
    chains = [
        base("f", Hook.FORWARD, ("jump a", "drop")),
        Chain("a", ("goto b", "reject")),
        Chain("b", ("ip saddr 10.9.9.9 accept",)),
    ]
    (outcome,) = trace([Ruleset.of("ip", "t", Fragment.of(chains))], AWAY, HOST)

    assert (Kind.DROP, ("t f: jump a", "t a: goto b", "t f: drop")) == (outcome.verdict, outcome.rules)


@pytest.mark.parametrize("rules", [("jump f2",), ("goto nowhere",)])
def test_chains_that_lead_nowhere_are_refused(rules: tuple[str, ...]) -> None:
    """A loop or a missing chain is an error, not an outcome."""
    chains = [base("f", Hook.FORWARD, rules), Chain("f2", ("jump f2",))]
    with pytest.raises(NetlabError):
        trace([Ruleset.of("ip", "t", Fragment.of(chains))], AWAY, HOST)
