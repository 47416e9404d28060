from __future__ import annotations

import pytest

from netlab.netfilter.listing import Listing
from netlab.netfilter.repair import repair
from netlab.netfilter.ruleset import Base, Chain, ChainType, Fragment, Hook, Ruleset, Set
from netlab.netfilter.script import render

WANTED = Ruleset.of(
    "ip",
    "t",
    Fragment.of(
        (Chain("pre", ("jump a",), Base(ChainType.FILTER, Hook.PREROUTING, 0)), Chain("a", ("meta mark & 0x4000 == 0 return",))),
        (Set("m", "inet_proto . inet_service : verdict"), Set("sticky", "ipv4_addr", ("dynamic", "timeout"), 60)),
        {"m": {"tcp . 80": "drop"}},
    ),
)
HOOKED = "type filter hook prerouting priority 0; policy accept;"
CHAINS = {"pre": (HOOKED, "jump a"), "a": ("meta mark & 0x00004000 == 0x00000000 return",)}
ELEMENTS = {"m": ("6 . 80 : drop",), "sticky": ()}
CANONICAL = Listing(CHAINS, ELEMENTS)
REFILL = "flush chain ip t a\nadd rule ip t a meta mark & 0x4000 == 0 return\n"

ROWS = [
    ("untouched", CANONICAL, ""),
    ("table deleted", Listing(exists=False), render(WANTED)),
    ("chain flushed", Listing({**CHAINS, "a": ()}, ELEMENTS), REFILL),
    ("rule added", Listing({**CHAINS, "a": (*CHAINS["a"], "drop")}, ELEMENTS), REFILL),
    ("chain deleted", Listing({"pre": CHAINS["pre"]}, ELEMENTS), "add chain ip t a\n" + REFILL.partition("\n")[2]),
    (
        "policy changed",
        Listing({**CHAINS, "pre": (HOOKED.replace("accept", "drop"), "jump a")}, ELEMENTS),
        (
            "flush chain ip t pre\ndelete chain ip t pre\nadd chain ip t pre { type filter hook prerouting priority 0; }\n"
            "add rule ip t pre jump a\n"
        ),
    ),
    ("stranger's chain", Listing({**CHAINS, "x": ("drop",)}, ELEMENTS), "flush chain ip t x\ndelete chain ip t x\n"),
    ("element deleted", Listing(CHAINS, {**ELEMENTS, "m": ()}), "add element ip t m { 6 . 80 : drop }\n"),
    (
        "element added",
        Listing(CHAINS, {**ELEMENTS, "m": (*ELEMENTS["m"], '6 . 81 comment "x" : accept')}),
        "delete element ip t m { 6 . 81 }\n",
    ),
    (
        "value changed",
        Listing(CHAINS, {**ELEMENTS, "m": ("6 . 80 : accept",)}),
        "delete element ip t m { 6 . 80 }\nadd element ip t m { 6 . 80 : drop }\n",
    ),
    (
        "comment changed",
        Listing(CHAINS, {**ELEMENTS, "m": ('6 . 80 comment "x : y" : drop',)}),
        "delete element ip t m { 6 . 80 }\nadd element ip t m { 6 . 80 : drop }\n",
    ),
    ("clients that stick", Listing(CHAINS, {**ELEMENTS, "sticky": ("10.0.0.1",)}), ""),
    ("stranger's set", Listing(CHAINS, {**ELEMENTS, "y": ()}), "delete set ip t y\n"),
    (
        "set deleted",
        Listing(CHAINS, {"m": ELEMENTS["m"]}),
        "add set ip t sticky { type ipv4_addr; flags dynamic,timeout; timeout 60s; }\n",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("observed", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_repair_rewrites_what_differs(observed: Listing, expected: str) -> None:
    """Repair compares what the kernel shows with how it would show the wanted table, and rewrites the differences."""
    assert expected == repair(observed, CANONICAL, WANTED)
