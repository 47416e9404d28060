from __future__ import annotations

import pytest

from netlab.netfilter.ruleset import Base, Chain, ChainType, Fragment, Hook, Ruleset, Set, merge
from netlab.netfilter.script import ELEMENTS_PER_COMMAND, render, transaction

MAP = Set("m", "ipv4_addr . inet_proto . inet_service : verdict")
KEY = "10.0.0.1 . tcp . 80"
A = Chain("a", ("drop",))
B = Chain("b", ("accept",))
PRE = Chain("pre", ("jump a",), Base(ChainType.FILTER, Hook.PREROUTING, -110))
STICKY = Set("s", "ipv4_addr", flags=("dynamic", "timeout"), timeout=60)
SOFT = Set("s", "ipv4_addr", flags=("dynamic", "timeout"), timeout=90)
USER = Chain("u", ("ip saddr @s drop",))


def table(*fragments: Fragment) -> Ruleset:
    return Ruleset.of("ip", "t", *fragments)


def of(*things: Chain | Set, **elements: dict[str, str]) -> Fragment:
    chains = [t for t in things if isinstance(t, Chain)]
    return Fragment.of(chains, [t for t in things if isinstance(t, Set)], elements)


def told(comment: str) -> Fragment:
    """One element with a comment."""
    return Fragment.of(elements={"m": {KEY: "drop"}}, comments={"m": {KEY: comment}})


ROWS = [
    ("nothing", of(A), of(A), ""),
    ("same text, other object", of(Chain("a", ("drop",))), of(A), ""),
    ("new chain", of(), of(A), "add chain ip t a\nadd rule ip t a drop\n"),
    ("base chain", of(A), of(A, PRE),
     "add chain ip t pre { type filter hook prerouting priority -110; }\nadd rule ip t pre jump a\n"),
    ("changed chain", of(A), of(Chain("a", ("accept",))), "flush chain ip t a\nadd rule ip t a accept\n"),
    ("stale chain", of(A, B), of(B), "flush chain ip t a\ndelete chain ip t a\n"),
    ("new set", of(), of(MAP), f"add map ip t m {{ type {MAP.type}; }}\n"),
    ("stale set", of(STICKY), of(), "delete set ip t s\n"),
    ("new element", of(m={}), of(m={KEY: "goto a"}), f"add element ip t m {{ {KEY} : goto a }}\n"),
    ("stale element", of(m={KEY: "goto a"}), of(m={}), f"delete element ip t m {{ {KEY} }}\n"),
    (
        "changed element",
        of(m={KEY: "goto a"}),
        of(m={KEY: "drop"}),
        f"delete element ip t m {{ {KEY} }}\nadd element ip t m {{ {KEY} : drop }}\n",
    ),
    ("element with a comment", of(), told("ns/a:web"), f'add element ip t m {{ {KEY} comment "ns/a:web" : drop }}\n'),
    ("the same comment", told("ns/a:web"), told("ns/a:web"), ""),
    (
        "another comment",
        told("ns/a:web"),
        told("ns/b:web"),
        f'delete element ip t m {{ {KEY} }}\nadd element ip t m {{ {KEY} comment "ns/b:web" : drop }}\n',
    ),
    ("chain with a comment", of(), of(Chain("c", comment="a, b")), 'add chain ip t c { comment "a, b"; }\n'),
    ("base chain with a comment", of(), of(Chain("c", (), PRE.base, "a")),
     'add chain ip t c { type filter hook prerouting priority -110; comment "a"; }\n'),
    ("set with a comment", of(), of(Set("x", "ipv4_addr", comment="a")), 'add set ip t x { type ipv4_addr; comment "a"; }\n'),
    (
        "element that goes with its chain",
        of(A, m={KEY: "goto a"}),
        of(),
        f"flush chain ip t a\ndelete element ip t m {{ {KEY} }}\ndelete chain ip t a\n",
    ),
    (
        "element that comes with its chain",
        of(),
        of(A, m={KEY: "goto a"}),
        f"add chain ip t a\nadd rule ip t a drop\nadd element ip t m {{ {KEY} : goto a }}\n",
    ),
    (
        "set with another timeout",
        of(STICKY, USER),
        of(SOFT, USER),
        (
            "flush chain ip t u\ndelete set ip t s\nadd set ip t s { type ipv4_addr; flags dynamic,timeout; timeout 90s; }\n"
            "add rule ip t u ip saddr @s drop\n"
        ),
    ),
    (
        "base chain with another priority",
        of(PRE, A),
        of(Chain("pre", PRE.rules, Base(ChainType.FILTER, Hook.PREROUTING, -90)), A),
        (
            "flush chain ip t pre\ndelete chain ip t pre\nadd chain ip t pre { type filter hook prerouting priority -90; }\n"
            "add rule ip t pre jump a\n"
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_transaction_writes_only_what_differs(before: Fragment, after: Fragment, expected: str) -> None:
    """A transaction changes what differs and nothing else, in an order that the kernel accepts."""
    assert expected == transaction(table(before), table(after))


def test_render_makes_the_table_first() -> None:
    """Without an old ruleset the script makes everything, beginning with the table."""
    assert "add table ip t\nadd chain ip t a\nadd rule ip t a drop\n" == transaction(None, table(of(A))) == render(table(of(A)))


def test_a_table_may_have_a_comment() -> None:
    """It is written when the table is made."""
    assert 'add table ip t { comment "a b"; }\nadd chain ip t a\n' == render(Ruleset.of("ip", "t", of(Chain("a")), comment="a b"))


def test_unchanged_fragments_are_not_looked_into() -> None:
    """A fragment that is the same object on both sides is skipped, whatever is in it."""
    same = Fragment(chains=None)  # type: ignore[arg-type]

    assert transaction(table(same, of(A)), table(same, of(A))) == ""


def test_a_thing_may_move_between_fragments() -> None:
    """An element that leaves one fragment and comes in another is neither deleted nor added."""
    assert transaction(table(of(m={KEY: "drop"}), of()), table(of(), of(m={KEY: "drop"}))) == ""


def test_many_elements_share_a_command() -> None:
    """Elements are written in batches, so that nft reads thousands quickly."""
    many = {f"10.0.{n // 256}.{n % 256}": "" for n in range(ELEMENTS_PER_COMMAND + 1)}

    assert transaction(table(), table(of(m=many))).count("add element") == 2


def test_merge_lays_elements_of_one_set_together() -> None:
    """Fragments may add elements to the same set."""
    assert merge([of(m={"a": ""}), of(m={"b": ""})]).elements == {"m": {"a": "", "b": ""}}
