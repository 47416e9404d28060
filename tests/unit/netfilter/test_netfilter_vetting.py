"""What may stand in an nft script: nothing that an object could end a command with."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netlab.errors import NetlabError
from netlab.netfilter.ruleset import Chain, Fragment, Ruleset, Set
from netlab.netfilter.script import render, transaction
from netlab.netfilter.vetting import UnsafeTextError, check_fragment, vet

MAP = Set("m", "ipv4_addr . inet_proto . inet_service : verdict")
GOOD = Fragment.of(
    (
        Chain(
            "service-ABC-ns/web/tcp/p80",
            ("ip daddr 10.96.0.1 tcp dport 80 jump mark", 'numgen random mod 1 vmap { 0 : goto e } comment "one of one"'),
            comment="helper for @a / @b",
        ),
    ),
    (MAP, Set("s", "ipv4_addr", ("dynamic", "timeout"), 10800, "A, B and C")),
    {"m": {"10.96.0.1 . tcp . 80": "goto service-ABC-ns/web/tcp/p80"}, "n": {"10.0.0.1": ""}},
    {"m": {"10.96.0.1 . tcp . 80": "ns/web:p80"}},
)
PLACES = {
    "chain name": lambda text: Fragment.of((Chain(text),)),
    "set name": lambda text: Fragment.of((), (Set(text, "ipv4_addr"),)),
    "set type": lambda text: Fragment.of((), (Set("s", text),)),
    "element key": lambda text: Fragment.of((), (), {"m": {text: ""}}),
    "element value": lambda text: Fragment.of((), (), {"m": {"10.0.0.1": text}}),
    "element's set": lambda text: Fragment.of((), (), {text: {"10.0.0.1": ""}}),
    "address in a rule": lambda text: Fragment.of((Chain("a", (f"meta l4proto tcp dnat to {text}:80",)),)),
    "range in a rule": lambda text: Fragment.of((Chain("a", (f"ip saddr != {{ {text} }} drop",)),)),
    "chain in a rule": lambda text: Fragment.of((Chain("a", (f"goto {text}",)),)),
    "set in a rule": lambda text: Fragment.of((Chain("a", (f"ip saddr @{text} drop",)),)),
    "comment of a rule": lambda text: Fragment.of((Chain("a", (f'drop comment "{text}"',)),)),
    "comment of a chain": lambda text: Fragment.of((Chain("a", comment=text),)),
    "comment of a set": lambda text: Fragment.of((), (Set("s", "ipv4_addr", comment=text),)),
    "comment of an element": lambda text: Fragment.of((), (), {"m": {"10.0.0.1": ""}}, {"m": {"10.0.0.1": text}}),
    "branch in a rule": lambda text: Fragment.of((Chain("a", (f"numgen random mod 1 vmap {{ 0 : goto {text} }}",)),)),
}
HOSTILE = (
    "10.0.0.1 }\nflush ruleset\nadd element ip t m { 10.0.0.2",
    "10.0.0.1 }; flush ruleset; add element ip t m { 10.0.0.2",
    'include "/etc/shadow"', "a\x00b", "a\rb", "a\x0bb", "a b}", "a{", "a;b", "a#b", "a\\b",
    'a"b', "a'b", "$a", "é", "a\u2028b", "a" * 600,
)  # fmt: skip


def test_what_netlab_writes_passes():
    """Names as kube-proxy makes them, elements, anonymous maps."""
    check_fragment(GOOD)

    assert render(Ruleset.of("ip", "t", GOOD)).count("\n") == 8


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_refused_wherever_it_stands(place: str, text: str):
    """The error names the value, in one short line (B1)."""
    with pytest.raises(UnsafeTextError, match="cannot stand in an nft script") as caught:
        check_fragment(PLACES[place](text))

    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200


COMMAND = re.compile(
    r"add table ip t"
    r'|(?:add|flush|delete) chain ip t \S+(?: \{(?: type [a-z]+ hook [a-z]+ priority -?\d+;)?(?: comment "[\w./:@, -]+";)? \})?'
    r"|add rule ip t \S+ [^{}\n;]+(?:\{ [^{}\n;]+ \}[^{}\n;]*)?"
    r"|add (?:set|map) ip t \S+ \{ [^{}\n]+ \}"
    r"|(?:add|delete) element ip t \S+ \{ [^{}\n;]+ \}"
    r"|delete (?:set|map) ip t \S+"
)
texts = st.one_of(st.text(max_size=40), st.sampled_from(HOSTILE), st.from_regex(r"[\w ./:,{}\n;]{1,30}"))


@given(place=st.sampled_from(sorted(PLACES)), text=texts, old=st.booleans())
def test_no_text_changes_the_number_or_kind_of_commands(place: str, text: str, old: bool):
    """What passes is one command per chain, rule, set and batch of elements, each of its own kind; the rest is left out alone."""
    fragment = PLACES[place](text)
    ruleset, refused = vet(Ruleset("ip", "t", {"": GOOD, "x": fragment}), {})
    script = transaction(Ruleset("ip", "t", {"": GOOD}) if old else None, ruleset)
    added = 0 if refused else sum(map(len, (fragment.chains, fragment.sets, fragment.elements)))
    added += 0 if refused else sum(len(chain.rules) for chain in fragment.chains.values())
    commands = script.splitlines()

    assert {"x"} >= refused.keys()
    assert all(COMMAND.fullmatch(command) for command in commands)
    assert (added if old else added + 8) >= len(commands)  # an element may fall into a batch that is there anyway


def test_a_script_itself_is_looked_at_once_more():
    """Also what nobody has vetted is not written when it holds a character that no command has."""
    for rule in ("drop\nflush ruleset", 'drop comment "a" "', 'drop comment "a;b"', 'drop "a"'):
        with pytest.raises(NetlabError):
            render(Ruleset.of("ip", "t", replace(GOOD, chains={"a": Chain("a", (rule,))})))


@pytest.mark.parametrize("text", [*HOSTILE, "a" * 129, "two\twords"], ids=repr)
def test_a_hostile_comment_of_a_table_is_refused(text: str):
    """It is vetted with the table's name: a fault there concerns the whole table."""
    with pytest.raises(UnsafeTextError):
        vet(Ruleset.of("ip", "t", GOOD, comment=text), {})
