"""The meaning of one rule: what it asks of a packet, what it changes, what it decides.

Rules
1. A rule is a sequence of terms. Each term is found in the table `TERMS`; text that no row of it recognises is an
   `UnknownRuleError`, never skipped: a tracer that skips what it does not know would prove anything.
2. A match that fails ends the rule, and the packet goes on to the next one. Changes made by earlier terms stay.
3. Chance is not drawn: `numgen random` gives every verdict it could give, and so does a session-affinity set whose
   content is not known. The answer to a packet is the set of everything that may happen to it.
4. The terms are those that netlab's tables are written in; whoever writes a rule with a new one adds a row here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from ipaddress import ip_address, ip_network

from netlab.errors import NetlabError
from netlab.family import FAMILIES, Family
from netlab.netfilter.ruleset import Fragment


class UnknownRuleError(NetlabError):
    """A rule has a term that `TERMS` does not list."""


class Kind(Enum):
    """What a rule may decide."""

    ACCEPT = "accept"  # done with this base chain; later base chains still see the packet
    DROP = "drop"  # gone without a word
    REJECT = "reject"  # gone, and the sender is told (ICMP port unreachable, or a TCP reset)
    RETURN = "return"  # back to the chain that jumped here
    JUMP = "jump"  # run that chain, then go on here
    GOTO = "goto"  # run that chain, then return to whoever called this one


@dataclass(frozen=True)
class Verdict:
    """A decision; `chain` is where `jump` and `goto` lead."""

    kind: Kind
    chain: str = ""


@dataclass(frozen=True)
class Packet:
    """The first packet of a flow (or a later one, when `state` is `established`), and what was done to it so far."""

    source: str
    protocol: str
    destination: str
    port: int = 0
    state: str = "new"
    mark: int = 0
    connection_mark: int = 0  # conntrack's
    translated: bool = False  # DNAT has chosen a destination
    masqueraded: bool = False  # its source is replaced by an address of the interface it leaves by


@dataclass(frozen=True)
class Context:
    """What rules look things up in: the table's sets and maps, the host's own addresses, affinity if known."""

    table: Fragment
    local_addresses: frozenset[str] = frozenset()
    remembered: Mapping[str, frozenset[str]] | None = field(default=None)


@dataclass(frozen=True)
class Step:
    """One way a rule may end: the packet as it is then, and the decision (None: go on with the next rule)."""

    packet: Packet
    verdict: Verdict | None = None


Groups = Mapping[str, str]
Match = Callable[[Groups, Packet, Context], tuple[bool, ...]]
Change = Callable[[Groups, Packet, Context], Packet]
Decide = Callable[[Groups, Packet, Context], tuple[Verdict, ...]]


@dataclass(frozen=True)
class Term:
    """A row of the table: how the text looks, and one of the three things it can do."""

    pattern: str
    match: Match | None = None
    change: Change | None = None
    decide: Decide | None = None


def evaluate(rule: str, packet: Packet, context: Context) -> tuple[Step, ...]:
    """Return every way the rule may end for the packet."""
    return _evaluate(_parse(rule), packet, context)


def _evaluate(terms: tuple[tuple[Term, Groups], ...], packet: Packet, context: Context) -> tuple[Step, ...]:
    for position, (term, groups) in enumerate(terms):
        if term.match:
            results = term.match(groups, packet, context)
            if results == (False,):
                return (Step(packet),)
            if len(results) > 1:  # it depends on something unknown: both
                return (Step(packet), *_evaluate(terms[position + 1 :], packet, context))
        if term.change:
            packet = term.change(groups, packet, context)
        if term.decide:
            verdicts = term.decide(groups, packet, context)
            return tuple(Step(packet, v) for v in verdicts) or (Step(packet),)
    return (Step(packet),)


@lru_cache(maxsize=4096)
def _parse(rule: str) -> tuple[tuple[Term, Groups], ...]:
    terms: list[tuple[Term, Groups]] = []
    rest = rule.strip()
    while rest:
        for pattern, term in _COMPILED:
            if found := pattern.match(rest):
                terms.append((term, found.groupdict(default="")))
                rest = rest[found.end() :].lstrip()
                break
        else:
            raise UnknownRuleError(
                f"The rule {rule!r} has a term that the tracer does not know, at {rest!r}.",
                remedy="Add its meaning to TERMS in netlab/netfilter/language.py.",
            )
    return tuple(terms)


# ---- Matches
def _address(packet: Packet, which: str) -> str:
    return packet.source if which == "saddr" else packet.destination


def within(address: str, prefix: str) -> bool:
    """Tell whether an address is that address or in that prefix."""
    return address == prefix or ("/" in prefix and ip_address(address) in ip_network(prefix))


def is_loopback(address: str) -> bool:
    """Tell whether an address is one of those that every host has."""
    return within(address, Family.of(address).loopback)


def _match_address(groups: Groups, packet: Packet, _context: Context) -> tuple[bool, ...]:
    members = groups["members"].strip("{ }").split(", ")
    inside = any(within(_address(packet, groups["which"]), m.strip()) for m in members)
    return (inside != bool(groups["negated"]),)


def _match_set(groups: Groups, packet: Packet, context: Context) -> tuple[bool, ...]:
    name, address = groups["set"], _address(packet, groups["which"])
    if context.table.sets[name].filled_by_packets:
        if context.remembered is None:
            return (True, False)
        return (address in context.remembered.get(name, frozenset()),)
    inside = any(within(address, key) for key in context.table.elements.get(name, {}))
    return (inside != bool(groups["negated"]),)


def _match_port(groups: Groups, packet: Packet, _context: Context) -> tuple[bool, ...]:
    return (packet.protocol == groups["protocol"] and packet.port == int(groups["port"]),)


def _match_protocol(groups: Groups, packet: Packet, _context: Context) -> tuple[bool, ...]:
    return (packet.protocol == groups["protocol"],)


def _match_local(groups: Groups, packet: Packet, context: Context) -> tuple[bool, ...]:
    address = _address(packet, groups["which"])
    return (address in context.local_addresses or is_loopback(address),)


def _match_state(groups: Groups, packet: Packet, _context: Context) -> tuple[bool, ...]:
    return (packet.state in groups["states"].split(","),)


def _match_mark(groups: Groups, packet: Packet, _context: Context) -> tuple[bool, ...]:
    masked, value = packet.mark & int(groups["mask"], 0), int(groups["value"], 0)
    return ((masked == value) == (groups["operator"] == "=="),)


def _match_whole_mark(groups: Groups, packet: Packet, _context: Context) -> tuple[bool, ...]:
    return (packet.mark == int(groups["whole"], 0),)


def _match_connection_mark(_groups: Groups, packet: Packet, _context: Context) -> tuple[bool, ...]:
    return (packet.connection_mark != 0,)


def _always(_groups: Groups, _packet: Packet, _context: Context) -> tuple[bool, ...]:
    return (True,)


# ---- Changes
def _change_mark(groups: Groups, packet: Packet, _context: Context) -> Packet:
    bits = int(groups["bits"], 0)
    return replace(packet, mark=packet.mark | bits if groups["operator"] == "|" else packet.mark ^ bits)


def _mark_connection(groups: Groups, packet: Packet, _context: Context) -> Packet:
    return replace(packet, connection_mark=int(groups["value"], 0))


def _take_mark(_groups: Groups, packet: Packet, _context: Context) -> Packet:
    return replace(packet, mark=packet.connection_mark)


def _translate(groups: Groups, packet: Packet, _context: Context) -> Packet:
    port = int(groups["port"]) if groups["port"] else packet.port
    return replace(packet, destination=groups["address"], port=port, translated=True)


def _masquerade(_groups: Groups, packet: Packet, _context: Context) -> Packet:
    return replace(packet, masqueraded=True)


def _unchanged(_groups: Groups, packet: Packet, _context: Context) -> Packet:
    return packet


# ---- Decisions
def _verdict(text: str) -> Verdict:
    kind, _, chain = text.strip().partition(" ")
    return Verdict(Kind(kind), chain)


def _decide(groups: Groups, _packet: Packet, _context: Context) -> tuple[Verdict, ...]:
    return (_verdict(groups["verdict"]),)


def _accept(_groups: Groups, _packet: Packet, _context: Context) -> tuple[Verdict, ...]:
    return (Verdict(Kind.ACCEPT),)


def _look_up(groups: Groups, packet: Packet, context: Context) -> tuple[Verdict, ...]:
    key = f"{packet.protocol} . {packet.port}"
    if groups["address"]:
        key = f"{packet.destination} . {key}"
    value = context.table.elements.get(groups["map"], {}).get(key)
    return () if value is None else (_verdict(value),)


def _pick_any(groups: Groups, _packet: Packet, _context: Context) -> tuple[Verdict, ...]:
    branches = dict(branch.split(" : ") for branch in groups["branches"].split(", "))
    missing = [n for n in range(int(groups["modulus"])) if str(n) not in branches]
    if missing or len(branches) != int(groups["modulus"]):
        raise UnknownRuleError(f"The rule draws a number below {groups['modulus']}, but its map has the keys {list(branches)}.")
    return tuple(_verdict(value) for value in branches.values())


def _terms_of(family: Family) -> tuple[Term, ...]:
    """Return the rows that contain an address or a protocol of a family."""
    header, address = family.nft, f"{family.characters}+"
    before, after = map(re.escape, family.brackets)
    prefix = rf"{address}(?:/\d+)?"
    which = rf"{header} (?P<which>[sd]addr) (?P<negated>!= )?"
    return (
        Term(rf"{which}@(?P<set>[\w./-]+)", match=_match_set),
        Term(
            rf"(?P<address>{header} daddr \. )?meta l4proto \. th dport vmap @(?P<map>[\w./-]+)",
            decide=_look_up,
        ),
        Term(
            rf"{which}(?P<members>{prefix}|\{{ {prefix}(?:, {prefix})* \}})",
            match=_match_address,
        ),
        Term(rf"update @(?P<set>[\w./-]+) \{{ {header} saddr \}}", change=_unchanged),
        Term(rf"meta l4proto (?P<protocol>tcp|udp|sctp|{family.icmp})", match=_match_protocol),
        Term(
            rf"dnat to {before}(?P<address>{address}){after}(?::(?P<port>\d+))?",
            change=_translate,
            decide=_accept,
        ),
    )


TERMS: tuple[Term, ...] = (
    *(term for family in FAMILIES for term in _terms_of(family)),
    Term(r"(?P<protocol>tcp|udp|sctp) dport (?P<port>\d+)", match=_match_port),
    Term(r"fib (?P<which>[sd]addr) type local", match=_match_local),
    Term(r"ct state (?P<states>[a-z,]+)", match=_match_state),
    Term(r"ct direction original", match=_always),  # packets of the client's side are all that is traced
    Term(r"ct mark != 0", match=_match_connection_mark),
    Term(r"ct mark set (?P<value>0x[0-9a-f]+)", change=_mark_connection),
    Term(r"meta mark set ct mark", change=_take_mark),
    Term(r"meta mark set meta mark (?P<operator>[|^]) (?P<bits>0x[0-9a-f]+)", change=_change_mark),
    Term(r"meta mark (?P<whole>0x[0-9a-f]+)", match=_match_whole_mark),
    Term(r"meta mark & (?P<mask>0x[0-9a-f]+) (?P<operator>[=!]=) (?P<value>0x[0-9a-f]+|0)", match=_match_mark),
    Term(r"numgen random mod (?P<modulus>\d+) vmap \{ (?P<branches>[\w./:, -]+) \}", decide=_pick_any),
    Term(r"masquerade(?: fully-random)?", change=_masquerade, decide=_accept),
    Term(r'comment "[A-Za-z][A-Za-z -]{1,126}"', change=_unchanged),
    Term(r"(?P<verdict>accept|drop|reject|return|(?:jump|goto) [\w./-]+)", decide=_decide),
)
_COMPILED = tuple((re.compile(rf"{term.pattern}(?=\s|$)", re.ASCII), term) for term in TERMS)
_ANY_TERM = "|".join(re.sub(r"\(\?P<\w+>", "(?:", term.pattern) for term in TERMS)
_RULE = re.compile(rf"(?:{_ANY_TERM})(?: (?:{_ANY_TERM}))*", re.ASCII)


def is_known(rule: str) -> bool:
    """Tell whether a rule consists of terms of the table and nothing else, one space apart."""
    return _RULE.fullmatch(rule) is not None
