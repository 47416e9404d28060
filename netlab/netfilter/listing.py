"""A table as `nft list table` prints it: how it is read, and how it is compared with a wanted one. Pure.

    table ip kube-proxy {
            map service-ips {
                    type ipv4_addr . inet_proto . inet_service : verdict
                    elements = { 10.96.0.1 . tcp . 443 : goto a,
                                 10.96.0.9 . udp . 53 comment "x, }" : goto b }
            }
            chain a { ...

Reading
    Elements and anonymous sets may run over several lines, and a comment may hold braces and commas.
    So lines are joined until their braces, those outside quotes, are balanced. Elements come in the
    order of a hash table whose seed differs between namespaces: they are sorted here, so that two
    listings can be compared.

Comparing
    Two texts of the same rule need not be equal: nft prints `ip daddr 10.0.0.0/8 masquerade` its own
    way, and every version a little differently. So a rule is never compared as it was written: nft
    prints both. `observed` is the table as it is, `canonical` the wanted table as the same nft prints
    it after loading it under another name. Sets that packets fill (session affinity) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from netlab.netfilter.ruleset import Ruleset

_QUOTED = re.compile(r'"[^"]*"')
_BLOCK = re.compile(r"(?P<noun>\w+) (?P<name>\S+) \{$")
_FIELD = re.compile(r"^(?:(?P<elements>elements) = \{ ?(?P<members>.*?) ?\}|(?P<word>flags|timeout) (?P<value>.*))$")
_ELEMENT = re.compile(r'(?:"[^"]*"|[^,"])+')


@dataclass(frozen=True)
class Listing:
    """An nft table as the kernel has it, in nft's own words.

    `chains`: chain name -> its rules, one string each, in order. The `type ... hook ...` line of a
    base chain comes first. `elements`: set or map name -> its elements, one string each
    (`10.96.0.5 . tcp . 80 : goto service-x`), except those with a timeout (session affinity).
    """

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    elements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exists: bool = True


@dataclass(frozen=True)
class Damage:
    """How an observed table differs from the canonical one, as names."""

    strange_chains: tuple[str, ...]
    missing_chains: tuple[str, ...]
    unhooked_chains: tuple[str, ...]  # base chains with another hook, priority or policy
    changed_chains: tuple[str, ...]
    strange_sets: tuple[str, ...]
    missing_sets: tuple[str, ...]
    strange_elements: Mapping[str, tuple[str, ...]]
    missing_elements: Mapping[str, tuple[str, ...]]


def compare(observed: Listing, canonical: Listing, wanted: Ruleset) -> Damage:
    """Compare a table with what it should be."""
    shared = [n for n in canonical.chains if n in observed.chains]
    unhooked = [n for n in shared if _hook(observed.chains[n]) != _hook(canonical.chains[n])]
    strange: dict[str, tuple[str, ...]] = {}
    missing: dict[str, tuple[str, ...]] = {}
    for name in (n for n in wanted.sets if not wanted.sets[n].filled_by_packets):
        has, wants = observed.elements.get(name, ()), canonical.elements.get(name, ())
        known, expected = frozenset(has), frozenset(wants)
        strange[name] = tuple(e for e in has if e not in expected)
        missing[name] = tuple(e for e in wants if e not in known)
    return Damage(
        strange_chains=tuple(n for n in observed.chains if n not in canonical.chains),
        missing_chains=tuple(n for n in wanted.chains if n not in observed.chains),
        unhooked_chains=tuple(unhooked),
        changed_chains=tuple(n for n in shared if observed.chains[n] != canonical.chains[n]),
        strange_sets=tuple(n for n in observed.elements if n not in wanted.sets),
        missing_sets=tuple(n for n in wanted.sets if n not in observed.elements),
        strange_elements=strange,
        missing_elements=missing,
    )


def split_elements(text: str) -> list[str]:
    """Return the elements between the braces of a list; a comment may hold commas."""
    return [element.strip() for element in _ELEMENT.findall(text)]


def element_key(element: str) -> str:
    """Return the key of an element, without its comment, timeout and value."""
    return element.partition(" : ")[0].partition(" comment ")[0].partition(" timeout ")[0]


def parse(text: str) -> Listing:
    """Return a table that nft printed."""
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, tuple[str, ...]] = {}
    for noun, name, lines in _blocks(text):
        if noun == "chain":
            chains[name] = tuple(line for line in lines if not line.startswith('comment "'))
        elif noun in {"set", "map"}:
            sets[name] = _elements(lines)
    return Listing(chains, sets)


def _blocks(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield noun, name and lines of each block inside the table."""
    noun = name = ""
    lines: list[str] = []
    for line in _joined(text.splitlines()[1:]):
        if not name:
            if found := _BLOCK.match(line):
                noun, name, lines = found["noun"], found["name"], []
        elif line == "}":
            yield noun, name, lines
            name = ""
        else:
            lines.append(line)


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines with those that belong together joined; the opening line of a block stands alone."""
    whole = ""
    for line in lines:
        stripped = line.strip()
        whole = f"{whole} {stripped}" if whole else stripped
        bare = _QUOTED.sub("", whole)
        opens_block = _BLOCK.match(whole) is not None and bare.count("{") == 1
        if whole and (opens_block or bare.count("{") <= bare.count("}")):
            yield whole
            whole = ""


def _elements(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the elements of a set, sorted; those with a timeout come from packets and are left out."""
    members: tuple[str, ...] = ()
    for line in lines:
        found = _FIELD.match(line)
        if found and found["elements"]:
            members = tuple(sorted(split_elements(found["members"])))
        elif found and (found["word"] == "timeout" or "dynamic" in found["value"].split(",")):
            return ()
    return tuple(member for member in members if " timeout " not in f"{_QUOTED.sub('', member)} ")


def _hook(lines: tuple[str, ...]) -> str:
    return lines[0] if lines and lines[0].startswith("type ") else ""
