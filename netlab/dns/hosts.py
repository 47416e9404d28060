"""Hosts-file text, as the ConfigMap kube-system/coredns has it in `NodeHosts`: `203.0.113.10 client db.example.com`.

The first name of a line is the canonical one, which a reverse lookup gives first. Names are compared without case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netlab.api import values
from netlab.dns.records import is_name
from netlab.errors import InvalidValueError


@dataclass(frozen=True)
class Hosts:
    """Both directions: lower-case name -> addresses, address -> names in the order written."""

    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def parse_hosts(text: str) -> Hosts:
    """Read hosts-file text. Comments go; a line that does not begin with an address is skipped, as resolvers do."""
    addresses: dict[str, tuple[str, ...]] = {}
    names: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        text, *aliases = line.partition("#")[0].split() or [""]
        try:
            address = values.ip(text, "an address")
        except InvalidValueError:
            continue
        for alias in (a.lower().rstrip(".") for a in aliases if is_name(a)):
            addresses[alias] = _with(addresses.get(alias, ()), address)
            names[address] = _with(names.get(address, ()), alias)
    return Hosts(addresses, names)


def _with(items: tuple[str, ...], item: str) -> tuple[str, ...]:
    return items if item in items else (*items, item)
