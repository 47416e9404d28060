"""nft for tests: the commands that `netlab.netfilter.script` writes, one to a line, on tables held as text.

It refuses what nft refuses for order's sake (a thing that is missing, there already, or still pointed to) and any command
that it does not support; it does not read rules beyond the chains and sets they name, and lists them as they were written.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Container, Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from netlab.kernel.door import UNTOUCHED
from netlab.netfilter.listing import Listing, element_key, split_elements

_COMMENT = r'comment "[^"]*";'
_POINTS_TO_CHAIN = re.compile(r"\b(?:jump|goto) ([\w./-]+)")
_POINTS_TO_SET = re.compile(r"@([\w./-]+)")


class RefusedError(Exception):
    """A line that nft would refuse, and its error number."""

    def __init__(self, line: str, number: int, words: str = "") -> None:
        super().__init__(line)
        self.line, self.number, self.words = line, number, words


@dataclass
class _Table:
    chains: dict[str, list[str]] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)  # name -> declaration
    elements: dict[str, dict[str, str]] = field(default_factory=dict)  # name -> key -> the element whole

    def pointers(self) -> Iterator[str]:
        """Every text that may point to a chain or a set."""
        for rules in self.chains.values():
            yield from rules
        for members in self.elements.values():
            yield from members.values()


_Key = tuple[str, str]  # family, table


@dataclass
class FakeNft:
    """All tables of one namespace."""

    tables: dict[_Key, _Table] = field(default_factory=dict)
    generation: int = UNTOUCHED

    def run(self, script: str) -> None:
        """Run a script: all of it, or on RefusedError nothing."""
        tables = deepcopy(self.tables)
        lines = [line.strip() for line in script.splitlines()]
        for line in lines:
            if line and not line.startswith("#"):
                _execute(tables, line)
        if script.strip():
            self.tables = tables
            self.generation += 1

    def listing(self, family: str, table: str) -> Listing:
        """Return a table as the real one would list it."""
        found = self.tables.get((family, table))
        if found is None:
            return Listing(exists=False)
        chains = {name: (*_hook(found.bases.get(name, "")), *rules) for name, rules in found.chains.items()}
        elements = {
            name: () if "dynamic" in declared or "timeout" in declared else tuple(sorted(found.elements[name].values()))
            for name, declared in found.sets.items()
        }
        return Listing(chains, elements)


def _hook(base: str) -> tuple[str, ...]:
    if not base:
        return ()
    return (base,) if "policy" in base else (f"{base} policy accept;",)


def _execute(tables: dict[_Key, _Table], line: str) -> None:
    if found := _TABLE_COMMAND.fullmatch(line):
        _change_tables(tables, line, found["verb"], (found["family"], found["table"]))
        return
    for pattern, action in _COMMANDS:
        if found := pattern.fullmatch(line):
            groups = found.groupdict(default="")
            key = (groups["family"], groups["table"])
            _present(line, key, tables)
            action(tables[key], line, groups["name"], groups.get("text", ""))
            return
    raise RefusedError(line, errno.EINVAL, "FakeNft does not know this command")


def _change_tables(tables: dict[_Key, _Table], line: str, verb: str, key: _Key) -> None:
    if verb in {"add", "create"}:
        tables.setdefault(key, _Table())
        return
    _present(line, key, tables)
    if verb == "delete":
        del tables[key]
    else:
        for rules in tables[key].chains.values():
            rules.clear()


def _present(line: str, name: object, things: Container[object]) -> None:
    if name not in things:
        raise RefusedError(line, errno.ENOENT)


# ---- chains: each action gets the table, the line, the thing's name and what follows it
def _add_chain(table: _Table, _: str, name: str, base: str) -> None:
    table.chains.setdefault(name, [])
    if hook := re.sub(rf" ?{_COMMENT}", "", base):
        table.bases[name] = hook


def _delete_chain(table: _Table, line: str, name: str, _: str) -> None:
    _present(line, name, table.chains)
    if table.chains[name] or any(name in _POINTS_TO_CHAIN.findall(text) for text in table.pointers()):
        raise RefusedError(line, errno.EBUSY)
    del table.chains[name]
    table.bases.pop(name, None)


def _flush_chain(table: _Table, line: str, name: str, _: str) -> None:
    _present(line, name, table.chains)
    table.chains[name].clear()


def _add_rule(table: _Table, line: str, name: str, rule: str) -> None:
    _present(line, name, table.chains)
    _pointing(table, line, rule)
    table.chains[name].append(rule)


def _pointing(table: _Table, line: str, text: str) -> None:
    """Refuse a text that points to what is not there."""
    for chain in _POINTS_TO_CHAIN.findall(text):
        _present(line, chain, table.chains)
    for name in _POINTS_TO_SET.findall(text):
        _present(line, name, table.sets)


# ---- sets, maps, elements
def _add_set(table: _Table, _: str, name: str, declaration: str) -> None:
    table.sets.setdefault(name, declaration)
    table.elements.setdefault(name, {})


def _delete_set(table: _Table, line: str, name: str, _: str) -> None:
    _present(line, name, table.sets)
    if any(name in _POINTS_TO_SET.findall(text) for text in table.pointers()):
        raise RefusedError(line, errno.EBUSY)
    del table.sets[name], table.elements[name]


def _flush_set(table: _Table, line: str, name: str, _: str) -> None:
    _present(line, name, table.sets)
    table.elements[name].clear()


def _add_element(table: _Table, line: str, name: str, members: str) -> None:
    _present(line, name, table.sets)
    for element in split_elements(members):
        _pointing(table, line, element)
        present = table.elements[name].setdefault(element_key(element), element)
        if " : " in element and present != element:
            raise RefusedError(line, errno.EEXIST)


def _delete_element(table: _Table, line: str, name: str, members: str) -> None:
    _present(line, name, table.sets)
    for key in map(element_key, split_elements(members)):
        _present(line, key, table.elements[name])
        del table.elements[name][key]


_TABLE = r"(?P<family>ip|ip6|inet) (?P<table>\S+)"
_NAME = rf"{_TABLE} (?P<name>\S+)"
_BRACES = r"\{ ?(?P<text>.*?) ?\}"
_TABLE_COMMAND = re.compile(rf"(?P<verb>add|create|delete|flush) table {_TABLE}(?: \{{ {_COMMENT} \}})?")
_Action = Callable[[_Table, str, str, str], None]
_COMMANDS: tuple[tuple[re.Pattern[str], _Action], ...] = tuple(
    (re.compile(pattern), action)
    for pattern, action in (
        (rf"add chain {_NAME}(?: {_BRACES})?", _add_chain),
        (rf"delete chain {_NAME}", _delete_chain),
        (rf"flush chain {_NAME}", _flush_chain),
        (rf"add rule {_NAME} (?P<text>.+)", _add_rule),
        (rf"add (?:set|map) {_NAME} {_BRACES}", _add_set),
        (rf"delete (?:set|map) {_NAME}", _delete_set),
        (rf"flush (?:set|map) {_NAME}", _flush_set),
        (rf"add element {_NAME} {_BRACES}", _add_element),
        (rf"delete element {_NAME} {_BRACES}", _delete_element),
    )
)
