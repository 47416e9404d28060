"""From text to trees of plain values that remember where they were written.

YAML is read event by event (libyaml), never constructed: no tag can make a Python object, nothing recurses in C, and
depth, size and alias expansion are bounded, so that any text ends in a tree or in a `Misread` with a position.

Plain scalars are what Kubernetes' YAML reader (YAML 1.1 as Go reads it) takes them for: `yes` and `on` are booleans,
`0o17`, `017` and `0x0f` numbers, dates text. Merge keys (`<<`) work; a duplicate key is a fault, as in `kubectl apply`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from netlab.topology.problem import Steps, printable, quoted

LONGEST_TEXT = 32 * 2**20
DEEPEST = 100
MOST_NODES = 2_000_000
MOST_ALIASED = 100_000  # nodes that appear a second time through an alias ("billion laughs")
Position = tuple[int, int]  # line and column, from 1


@dataclass(frozen=True)
class Source:
    """A file's text. `name` is its path as the user wrote it."""

    name: str
    text: str


@dataclass(frozen=True)
class Misread:
    """A fault of the YAML itself."""

    position: Position
    message: str


@dataclass
class Scalar:
    position: Position
    value: Any


@dataclass
class Sequence:
    position: Position
    items: list[Node] = field(default_factory=list)


@dataclass
class Mapping:
    position: Position
    items: dict[str, tuple[Position, Node]] = field(default_factory=dict)
    merged: list[tuple[Position, Node]] = field(default_factory=list)


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True)
class Document:
    """One YAML document that holds something."""

    source: str
    root: Node
    value: Any

    def position(self, steps: Steps, *, at_key: bool = False) -> Position:
        """Return where a field is written; of a missing field, where the nearest thing around it is."""
        node, found = self.root, self.root.position
        for index, step in enumerate(steps):
            last = index == len(steps) - 1
            if isinstance(node, Mapping) and isinstance(step, str) and (entry := _entry(node, step)):
                found, node = (entry[0] if (last and at_key) or _is_empty(entry[1]) else entry[1].position), entry[1]
            elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
                found = node.position
            else:
                break
        return found


class _MisreadError(Exception):
    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.misread = Misread(position, message)


def documents(source: Source) -> tuple[tuple[Document, ...], tuple[Misread, ...]]:
    """Return the documents of a file and the faults of its YAML; empty documents are left out."""
    text = source.text.removeprefix("\ufeff")
    if refused := _refused_text(text):
        return (), (refused,)
    reader = _Reader()
    found: list[Document] = []
    try:
        for root in reader.roots(yaml.parse(text, Loader=_LOADER)):
            value = _Expansion(reader).plain(root, 0)
            if value is not None:
                found.append(Document(source.name, root, value))
    except _MisreadError as error:
        reader.misreads.append(error.misread)
    except yaml.MarkedYAMLError as error:
        reader.misreads.append(_misread(error, text))
    except yaml.YAMLError as error:
        reader.misreads.append(Misread((1, 1), f"invalid YAML: {printable(str(error))}"))
    return tuple(found), tuple(reader.misreads)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]|[\x80-\x84\x86-\x9f]|(?<!^)\ufeff")
_TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "map", "seq")}


def _refused_text(text: str) -> Misread | None:
    """Return what makes a text no YAML at all, with its position."""
    if len(text) > LONGEST_TEXT:
        return Misread((1, 1), f"the file is larger than {LONGEST_TEXT // 2**20} MiB")
    match = _UNREADABLE.search(text)
    if match is None:
        return None
    lines = text[: match.start()].split("\n")
    code = ord(match.group())
    what = "a byte that is not UTF-8" if 0xD800 <= code <= 0xDFFF else f"the control character U+{code:04X}"
    return Misread((len(lines), len(lines[-1]) + 1), f"not a text file: it contains {what}; save the file as UTF-8")


def _misread(error: yaml.MarkedYAMLError, text: str) -> Misread:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Misread((1, 1), f"invalid YAML: {printable(str(error.problem))}")
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    words = " ".join(str(part) for part in (error.problem, error.context) if part)
    hint = "; YAML is indented with spaces; this line contains a tab" if "\t" in line[: mark.column + 1] else ""
    return Misread((mark.line + 1, mark.column + 1), f"invalid YAML: {words}{hint}")


@dataclass
class _Reader:
    """Builds trees from events; `misreads` are faults after which it can continue."""

    misreads: list[Misread] = field(default_factory=list)
    nodes: int = 0
    aliased: int = 0
    anchors: dict[str, Node] = field(default_factory=dict)
    open: list[Sequence | Mapping] = field(default_factory=list)
    keys: list[tuple[str, Position] | None] = field(default_factory=list)  # of each open mapping, the key that waits

    def roots(self, events: Iterator[Any]) -> Iterator[Node]:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.anchors.clear()
            elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                self.open.pop()
                self.keys.pop()
                if not self.open:
                    yield self.root
            elif isinstance(event, yaml.NodeEvent):
                node = self.node(event)
                self.place(node, event)
                if not self.open:
                    yield node

    def node(self, event: Any) -> Node:
        position = _position(event)
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise _MisreadError(position, f"the file contains more than {MOST_NODES} values")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, position)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(position, self.scalar(event, position))
        else:
            self.check_tag(event, position)
            node = Sequence(position) if isinstance(event, yaml.SequenceStartEvent) else Mapping(position)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any, position: Position) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            raise _MisreadError(position, f"invalid YAML: the alias *{printable(event.anchor)} has no anchor before it")
        if any(node is parent for parent in self.open):
            raise _MisreadError(position, f"the alias *{printable(event.anchor)} refers to something that contains it")
        return node

    def check_tag(self, event: Any, position: Position) -> None:
        if event.tag and event.tag != "!" and event.tag not in _TAGS:
            self.misreads.append(Misread(position, f"the tag {quoted(event.tag)} is not used in Kubernetes manifests; remove it"))

    def scalar(self, event: Any, position: Position) -> Any:
        self.check_tag(event, position)
        kind = _TAGS.get(event.tag or "", "")
        if (not event.implicit[0] and not kind) or kind == "str":
            return event.value
        value = resolve(event.value)
        if isinstance(value, float) and not math.isfinite(value):
            self.misreads.append(Misread(position, f"JSON cannot represent the number {quoted(event.value)}; write it in quotes"))
            return event.value
        return value

    def place(self, node: Node, event: Any) -> None:
        """Put a node into the collection that is open, as key or as value, and open it if it is a collection."""
        if self.open:
            parent = self.open[-1]
            if isinstance(parent, Sequence):
                parent.items.append(node)
            elif self.keys[-1] is None:
                self.keys[-1] = (self.key(node, event), _position(event))
                return
            else:
                self.entry(parent, *self.keys[-1], node)
                self.keys[-1] = None
        else:
            self.root = node
        if not isinstance(event, yaml.AliasEvent) and not isinstance(node, Scalar):
            if len(self.open) >= DEEPEST:
                raise _MisreadError(node.position, f"the file is nested deeper than {DEEPEST} levels")
            self.open.append(node)
            self.keys.append(None)

    def key(self, node: Node, event: Any) -> str:
        if not isinstance(node, Scalar):
            raise _MisreadError(_position(event), "a key must be text, got a map or a list")
        if isinstance(event, yaml.ScalarEvent) and not isinstance(node.value, str):
            if isinstance(node.value, bool | float) or node.value is None:
                words = f"a key must be text, got {quoted(event.value)}; write it in quotes"
                self.misreads.append(Misread(node.position, words))
            return str(event.value)
        return str(node.value)

    def entry(self, parent: Mapping, key: str, position: Position, node: Node) -> None:
        if key == "<<":
            parent.merged.append((position, node))
        elif key in parent.items:
            first = parent.items[key][0][0]
            self.misreads.append(Misread(position, f'duplicate key "{printable(key)}", first written in line {first}'))
        else:
            parent.items[key] = (position, node)


@dataclass
class _Expansion:
    """Turns a tree into plain values. Every visit of a node after the first is an alias' work and is counted."""

    reader: _Reader
    visited: set[int] = field(default_factory=set)

    def plain(self, node: Node, depth: int) -> Any:
        if isinstance(node, Scalar):
            self.count(node)
            return node.value
        self.count(node)
        if depth > DEEPEST:
            raise _MisreadError(node.position, f"the file is nested deeper than {DEEPEST} levels")
        if isinstance(node, Sequence):
            return [self.plain(item, depth + 1) for item in node.items]
        merged: dict[str, Any] = {}
        for position, part in reversed(tuple(_merged(node))):  # of several, the first wins; the map's own keys win over all
            if isinstance(part, Mapping):
                merged |= self.plain(part, depth + 1)
            else:
                words = "<< merges a map or a list of maps, got something else"
                self.reader.misreads.append(Misread(position, words))
        return merged | {key: self.plain(item, depth + 1) for key, (_, item) in node.items.items()}

    def count(self, node: Node) -> None:
        if id(node) not in self.visited:
            self.visited.add(id(node))
            return
        self.reader.aliased += 1
        if self.reader.aliased > MOST_ALIASED:
            raise _MisreadError(node.position, f"aliases repeat more than {MOST_ALIASED} values")


_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    word: value
    for value, words in ((True, "y yes true on"), (False, "n no false off"))
    for lower in words.split()
    for word in (lower, lower.capitalize(), lower.upper())
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO]?[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def resolve(text: str) -> Any:
    """Return what a plain scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text) and len(text) <= 300:
        return _integer(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> int | float | str:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-").replace("_", "").lower()
    base = {"0x": 16, "0b": 2, "0o": 8}.get(digits[:2], 8 if digits[:1] == "0" and len(digits) > 1 else 10)
    try:
        number = sign * int(digits.removeprefix("0x").removeprefix("0b").removeprefix("0o"), base)
    except ValueError:  # only underscores were left
        return text
    return number if abs(number) < 2**63 else float(number)


def _position(event: Any) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _merged(node: Mapping) -> Iterator[tuple[Position, Node]]:
    """Yield what `<<` names, the parts of a list one by one."""
    for position, part in node.merged:
        for item in part.items if isinstance(part, Sequence) else [part]:
            yield position, item


def _entry(node: Mapping, key: str) -> tuple[Position, Node] | None:
    """Find a key in a map or in what it merges."""
    if key in node.items:
        return node.items[key]
    found = (_entry(part, key) for _, part in _merged(node) if isinstance(part, Mapping))
    return next((entry for entry in found if entry), None)
