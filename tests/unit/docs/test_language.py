"""Plain technical English: pages, topology comments, help texts and code contain no refused phrase.

Of the code in `PACKAGES` every comment, docstring and string literal of several words is checked,
whether it reaches a user or not.

A row of `REFUSED` is a pattern, the reason, and what to write instead. A space in a pattern matches
any white space, so a line break hides no phrase. Inline code is not checked: it quotes names,
commands and printed messages.

To check more code, add its package to `PACKAGES`; to check more text, yield it from `texts`.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from netlab.cli.main import app

ROOT = Path(__file__).parents[3]
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
SPECIFICATION = "semantics.md"  # written in the words of its sources
PACKAGES = (  # packages and modules of netlab
    *("cli", "containment.py", "daemon", "engine", "errors.py", "files.py", "hosts", "images", "lab"),
    *("process", "serving", "state.py", "topology", "controlplane", "http", "dns", "api", "workloads"),
    *("node/kubelet", "probe/judge", "probe/report", "probe/run"),
)
INLINE_CODE = re.compile(r"(?<!`)`(?!`)[^`]*`(?!`)")
LINK_TARGET = re.compile(r"\]\([^)]*\)")

PERSON = "a program, a socket or a rule is not a person"
CLAUSE = "a relative clause is not a subject"
VAGUE = "the reader has to decode the phrase"
SPELLING = "the pages use American spelling"


class Refused(NamedTuple):
    """A phrase that a reader has to decode, and what to write in its place."""

    pattern: str
    reason: str
    instead: str

    @property
    def advice(self) -> str:
        """Return the reason and the replacement in one sentence each."""
        return f"{self.reason}. Instead: {self.instead}"


REFUSED = (
    Refused(r"\b(no|some|every)body\b", PERSON, "name the process, user or host; 'no client'"),
    Refused(r"\b(tells?|told)\b", PERSON, "reports, prints, states; 'netlab reports ...'"),
    Refused(r"\b(hears?|heard)\b", PERSON, "receives, detects, gets a reply"),
    Refused(r"\b(says?|said)\b", PERSON, "prints, reports, states, specifies, contains"),
    Refused(r"\bknows\b", PERSON, "contains, resolves, recognizes, has"),
    Refused(r"\b(wishes|wish)\b", PERSON, "requests, requires"),
    Refused(r"\bstands?\b(?! (in )?for\b)", PERSON, "is, runs, exists, is between"),
    Refused(r"\baffairs?\b", PERSON, "'the kubelet handles ...'"),
    Refused(r"\bstrangers?\b", PERSON, "'not created by netlab', 'another process'"),
    Refused(r"\bwho (finds|stops|hears|knows|has|is not)\b", CLAUSE, "'If a caller finds ...'"),
    Refused(r"\bwho ?ever\b", CLAUSE, "'A client that ...', 'If a user ...'"),
    Refused(r"(?<!there\s)\b(is|are) no\b(?! (longer|more)\b)", VAGUE, "'is not a', 'invalid'"),
    Refused(r"\bnone of (ours|its|theirs|that)\b", VAGUE, "state what the thing is"),
    Refused(r"\bof (its|their|his) own\b", VAGUE, "'its own ...', 'a separate ...'"),
    Refused(r"\banew\b", VAGUE, "again; 'starts from scratch', 'recreates'"),
    Refused(r"\bmeanwhile\b", VAGUE, "'in the meantime', 'at the same time', or the condition"),
    Refused(r"\bhalf-made\b", VAGUE, "incomplete"),
    Refused(r"\b(goes|go|going|went) on\b", VAGUE, "continues, keeps running"),
    Refused(r"\bmakes? way\b", VAGUE, "'netlab replaces ...'"),
    Refused(r"\b(comes?|came) (of|about)\b", VAGUE, "'the result of ...', 'happens'"),
    Refused(r"\ball the same\b", VAGUE, "anyway, nevertheless"),
    Refused(r"\b(goes|go) with(out)? it\b", VAGUE, "name the effect"),
    Refused(r"\b(behavi|col|neighb|fav|hon)our", SPELLING, "-or: behavior, color, neighbor"),
    Refused(r"\b(recogni|initiali|seriali|normali|authori)s(e|ed|es|ing)\b", SPELLING, "-ize"),
    Refused(r"\b(artefact|catalogue|misspelt|learnt)", SPELLING, "artifact, catalog, misspelled"),
)


def texts() -> Iterator[tuple[str, str]]:
    """Yield what is checked: the place as a reader finds it, and its text."""
    pages = sorted(page for page in ROOT.glob("docs/*.md") if page.name != SPECIFICATION)
    for page in (*(ROOT / name for name in TOP), *pages):
        yield str(page.relative_to(ROOT)), _prose(page.read_text())
    for topology in sorted(ROOT.glob("topologies/*.yaml")):
        yield str(topology.relative_to(ROOT)), _comments(topology.read_text())
    for module in _modules():
        yield str(module.relative_to(ROOT)), _literals(module.read_text())
    yield from _helps("netlab", typer.main.get_command(app))


def _modules() -> Iterator[Path]:
    for name in PACKAGES:
        place = ROOT / "netlab" / name
        assert place.exists(), f"{place}: change PACKAGES"
        yield from sorted(place.rglob("*.py")) or [place]


def _literals(source: str) -> str:
    """Return the comments, docstrings and string literals of a module, each in its line.

    A semicolon ends a string, so that a phrase does not continue in the next one.
    """
    lines: defaultdict[int, str] = defaultdict(str)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0]] += f" {_prose(token.string.lstrip('# '))}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for number, line in enumerate(f"{_prose(node.value)};".split("\n"), node.lineno):
                lines[number] += f" {line}"
    return "\n".join(lines[number] for number in range(1, max(lines, default=0) + 1))


def _prose(page: str) -> str:
    """Return a page without inline code and link targets, each line in its place."""
    for hidden in (INLINE_CODE, LINK_TARGET):
        page = hidden.sub(lambda found: "`" + "\n" * found[0].count("\n"), page)
    return page


def _comments(text: str) -> str:
    """Return the comments of a YAML file, each in its line."""
    return "\n".join(line.partition("#")[2] for line in text.splitlines())


def _helps(name: str, command: object) -> Iterator[tuple[str, str]]:
    """Yield the help of a command, of its parameters and of the commands below it."""
    parameters = [getattr(parameter, "help", None) for parameter in getattr(command, "params", ())]
    own = (getattr(command, "help", None), getattr(command, "epilog", None), *parameters)
    yield f"{name} --help", "\n".join(filter(None, own))
    for word, below in getattr(command, "commands", {}).items():
        yield from _helps(f"{name} {word}", below)


def refused(place: str, text: str) -> list[str]:
    """Return a line for each refused phrase of a text: where, what, why, what to write instead."""
    found = [
        (text.count("\n", 0, match.start()) + 1, match[0], row)
        for row in REFUSED
        for match in re.finditer(row.pattern.replace(" ", r"\s+"), text, flags=re.IGNORECASE)
    ]
    return [f"{place}:{line}: {what!r}: {row.advice}" for line, what, row in found]


@pytest.mark.parametrize(("place", "text"), [pytest.param(*both, id=both[0]) for both in texts()])
def test_text_is_plain_english(place: str, text: str) -> None:
    """A page, a topology, a module and a help text contain no refused phrase."""
    found = refused(place, text)

    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("There is no lab; an id stands for a check. The `nobody` user.", []),
        ("nobody\nis told", ["p:1: 'nobody'", "p:2: 'told'"]),
        ("'80:' is\nno pair of ports", ["p:1: 'is\\nno'"]),
        ("It stands still.", ["p:1: 'stands'"]),
        ("[behaviour](behaviour.md)", ["p:1: 'behaviour'"]),
    ],
)
def test_phrases_are_found(text: str, phrases: list[str]) -> None:
    """A phrase is found across a line break, but not in inline code or link targets."""
    assert phrases == [": ".join(line.split(": ")[:2]) for line in refused("p", _prose(text))]


def test_phrases_of_code_are_found() -> None:
    """A phrase is found in a comment, a docstring and an f-string; names and code are not text."""
    source = 'def told():\n    """Ask\n    nobody."""  # it\n    # hears `x says`\n    x = f"is {said} " "anew"\n'

    found = [": ".join(line.split(": ")[:2]) for line in refused("p", _literals(source))]

    assert sorted(found) == ["p:3: 'nobody'", "p:4: 'hears'", "p:5: 'anew'"]


def test_every_kind_of_text_is_checked() -> None:
    """The places include pages, topologies, modules, and the help of nested verbs."""
    places = {place for place, _ in texts()}

    assert {"README.md", "docs/cli.md", "topologies/quickstart.yaml", "netlab up --help"} <= places
    assert {"netlab images list --help", "netlab/errors.py", "netlab/lab/up.py"} <= places
