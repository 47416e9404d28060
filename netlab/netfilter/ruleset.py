"""nftables' nouns as frozen values: table, chain, set, map, element, rule.

How it works
    A rule is a line of nft text (`ip daddr 10.96.0.10 tcp dport 53 jump mark-for-masquerade`). Text is what nft reads,
    what `nft list` prints and what a learner recognises; `netlab.netfilter.language` gives each line its meaning and
    refuses a line it does not know, so a typing error cannot pass a test.

    A `Ruleset` is one table. It is made of *fragments*, one per thing that caused the rules (a Service, for example).
    Fragments that nothing changed are the same Python object in the old and the new ruleset: comparing ten thousand
    Services costs ten thousand pointer comparisons, and only the changed one is looked into.

What would surprise you
    - The fragment `FRAME` holds what no single object causes: base chains and the maps they look up.
      The other fragments refer to it, and to nothing in each other.
    - Names of chains and sets, and keys of elements, must be unique over all fragments of a ruleset.
    - Priorities are numbers: nft knows the word `dstnat` only at some hooks.
    - A map is a set whose type has a value: `ipv4_addr . inet_proto . inet_service : verdict`.
    - Comments are for who lists the rules. Those of elements and rules are part of what they are; those of tables, chains and
      sets are written when the thing is made, and not compared with what the kernel shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TypeVar

T = TypeVar("T")
EMPTY: Mapping[str, str] = {}
FRAME = ""  # the key of the fragment that all others of a ruleset refer to


class ChainType(Enum):
    """What a base chain may do."""

    FILTER = "filter"  # accept, drop, reject: sees every packet
    NAT = "nat"  # change addresses: sees only the first packet of a flow, conntrack repeats the change for the rest


class Hook(Enum):
    """Where in the network stack a base chain is called."""

    PREROUTING = "prerouting"  # a packet came in from an interface; no route chosen yet, so DNAT still decides the way
    INPUT = "input"  # it is for this host's own addresses
    FORWARD = "forward"  # it is for somebody else; both interfaces are known
    OUTPUT = "output"  # a process of this host sent it; after DNAT here the route is looked up again
    POSTROUTING = "postrouting"  # it is about to leave by a known interface: the moment to choose a source address


# Priorities order the chains of one hook: lower is earlier (nft's words for them are in netfilter's own tables).
FILTER_PRIORITY = 0  # where ordinary firewalls filter
DNAT_PRIORITY = -100  # where destination addresses are changed; conntrack (-200) has seen the packet
BEFORE_DNAT_PRIORITY = DNAT_PRIORITY - 10  # still the destination that the client asked for
AFTER_DNAT_PRIORITY = DNAT_PRIORITY + 10  # the destination that was chosen, if one was
SNAT_PRIORITY = 100  # where source addresses are changed, last of all


@dataclass(frozen=True)
class Base:
    """What makes a chain a base chain: the kernel calls it at `hook`; others only run when jumped to."""

    type: ChainType
    hook: Hook
    priority: int

    def __str__(self) -> str:
        return f"type {self.type.value} hook {self.hook.value} priority {self.priority};"


@dataclass(frozen=True)
class Chain:
    """Rules in order. Without `base` it is a regular chain, run by `jump` and `goto`."""

    name: str
    rules: tuple[str, ...] = ()
    base: Base | None = None
    comment: str = ""

    @property
    def declaration(self) -> str:
        """What stands in braces when the chain is made; empty for a regular chain without comment."""
        return " ".join(words for words in (str(self.base or ""), described(self.comment)) if words)


@dataclass(frozen=True)
class Set:
    """A named set, or a map when its type names a value. `timeout` in seconds: elements leave by themselves."""

    name: str
    type: str
    flags: tuple[str, ...] = ()
    timeout: int = 0
    comment: str = ""

    @property
    def is_map(self) -> bool:
        """It gives a value for a key."""
        return " : " in self.type

    @property
    def noun(self) -> str:
        """The word for it in nft commands."""
        return "map" if self.is_map else "set"

    @property
    def filled_by_packets(self) -> bool:
        """Packets add its elements (`update @set`), so nobody compares them with what is wanted."""
        return "dynamic" in self.flags

    def __str__(self) -> str:
        flags = f" flags {','.join(self.flags)};" if self.flags else ""
        timeout = f" timeout {self.timeout}s;" if self.timeout else ""
        comment = f" {described(self.comment)}" if self.comment else ""
        return f"type {self.type};{flags}{timeout}{comment}"


@dataclass(frozen=True)
class Fragment:
    """A part of a table. `elements`: set name -> key -> value (empty in a plain set). `comments`: set name -> key -> comment."""

    chains: Mapping[str, Chain] = field(default_factory=dict)
    sets: Mapping[str, Set] = field(default_factory=dict)
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    comments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        chains: Iterable[Chain] = (),
        sets: Iterable[Set] = (),
        elements: Mapping[str, Mapping[str, str]] | None = None,
        comments: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Fragment:
        """Build a fragment from the things themselves."""
        return cls({c.name: c for c in chains}, {s.name: s for s in sets}, elements or {}, comments or {})


@dataclass(frozen=True)
class Ruleset:
    """One table, all of it. Only this table is ever touched by the scripts made from it."""

    family: str
    table: str
    fragments: Mapping[str, Fragment]
    comment: str = ""

    @classmethod
    def of(cls, family: str, table: str, *fragments: Fragment, comment: str = "") -> Ruleset:
        """Build a small ruleset, whose fragments need no names."""
        return cls(family, table, {str(number): fragment for number, fragment in enumerate(fragments)}, comment)

    @cached_property
    def whole(self) -> Fragment:
        """All fragments as one."""
        return merge(self.fragments.values())

    @property
    def chains(self) -> Mapping[str, Chain]:
        """All chains by name."""
        return self.whole.chains

    @property
    def sets(self) -> Mapping[str, Set]:
        """All sets and maps by name."""
        return self.whole.sets

    @property
    def elements(self) -> Mapping[str, Mapping[str, str]]:
        """All elements: set name -> key -> value."""
        return self.whole.elements


def merge(fragments: Iterable[Fragment]) -> Fragment:
    """Lay fragments together. Their names do not overlap."""
    chains: dict[str, Chain] = {}
    sets: dict[str, Set] = {}
    elements: dict[str, dict[str, str]] = {}
    comments: dict[str, dict[str, str]] = {}
    for fragment in fragments:
        chains.update(fragment.chains)
        sets.update(fragment.sets)
        for name, members in fragment.elements.items():
            elements.setdefault(name, {}).update(members)
        for name, members in fragment.comments.items():
            comments.setdefault(name, {}).update(members)
    return Fragment(chains, sets, elements, comments)


def described(comment: str) -> str:
    """Return a comment as the declaration of a table, chain or set has it; empty for none."""
    return f'comment "{comment}";' if comment else ""
