"""Reading what `nft list table` prints. Pure.

    table ip kube-proxy {
            map service-ips {
                    type ipv4_addr . inet_proto . inet_service : verdict
                    elements = { 10.96.0.1 . tcp . 443 : goto a,
                                 10.96.0.9 . udp . 53 comment "x, }" : goto b }
            }
            chain a { ...

What would surprise you: elements and anonymous sets may run over several lines, and a comment may hold braces and commas.
So lines are first joined until their braces, those outside quotes, are balanced. Elements come in the order of a hash
table whose seed differs from namespace to namespace: they are sorted here, so that two listings can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from netlab.kernel.door import Listing

_QUOTED = re.compile(r'"[^"]*"')
_BLOCK = re.compile(r"(?P<noun>\w+) (?P<name>\S+) \{$")
_FIELD = re.compile(r"^(?:(?P<elements>elements) = \{ ?(?P<members>.*?) ?\}|(?P<word>flags|timeout) (?P<value>.*))$")
_MEMBER = re.compile(r'(?:"[^"]*"|[^,"])+')


def parse(text: str) -> Listing:
    """Return a listed table as values."""
    chains: dict[str, tuple[str, ...]] = {}
    elements: dict[str, tuple[str, ...]] = {}
    for noun, name, lines in _blocks(text):
        if noun == "chain":
            chains[name] = tuple(line for line in lines if not line.startswith('comment "'))
        elif noun in {"set", "map"}:
            elements[name] = _elements(lines)
    return Listing(chains, elements)


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
    """Return a set's elements, sorted; those that leave by themselves (a timeout) are the packets' doing and left out."""
    members: tuple[str, ...] = ()
    for line in lines:
        found = _FIELD.match(line)
        if found and found["elements"]:
            members = tuple(sorted(member.strip() for member in _MEMBER.findall(found["members"])))
        elif found and (found["word"] == "timeout" or "dynamic" in found["value"].split(",")):
            return ()
    return tuple(member for member in members if " timeout " not in f"{_QUOTED.sub('', member)} ")
