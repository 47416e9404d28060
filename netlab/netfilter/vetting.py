"""The last gate before nft: a fragment whose text could be read as anything but what it is meant to be is refused.

Theory. An nft script is text, so a name, an address or a comment from an object could end its command and begin another one
(`flush ruleset`, `include "/etc/shadow"`). Objects are parsed long before (`netlab.api.values`); this module does not rely on
it. It allows what netlab's tables are written in and refuses the rest, whatever it may mean to nft:

    names of tables, chains, sets   letters, digits, `_`, `.`, `/`, `-`; a letter first; 255 characters
    keys and values of elements     words of the same characters and `:`, one space apart: no braces, no commas
    types of sets                   words of letters, digits and `_`, `.` and `:`
    rules                           terms that `netlab.netfilter.language` knows: braces and commas only where those have them
    comments of elements            one word of letters, digits, `_`, `.`, `/`, `:` and `-`; 128 characters, as nft has it
    comments of tables, chains, sets   the same, and spaces, commas and `@`; netlab's own words, none comes from an object

So nothing holds a control character, a newline, a semicolon, `#`, `$` or a backslash; quotes stand around a comment and nowhere
else. The number and kind of a script's commands depend only on how many chains, rules, sets and elements there are.

A fragment is refused as a whole and alone: `vet` sorts the fragments of a table into those to write and those left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from netlab.containment import Contained
from netlab.errors import NetlabError
from netlab.netfilter.language import is_known
from netlab.netfilter.ruleset import Chain, Fragment, Ruleset, Set

LONGEST_NAME: Final = 255  # NFT_NAME_MAXLEN without its zero
LONGEST_ELEMENT: Final = 2 * LONGEST_NAME
LONGEST_COMMENT: Final = 128  # NFTNL_UDATA_COMMENT_MAXLEN
LONGEST_RULE: Final = 1 << 22  # one with a branch per endpoint is long
LONGEST_TIMEOUT: Final = 1 << 32  # seconds
_SHOWN: Final = 60
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_ELEMENT = re.compile(r"[A-Za-z0-9_./:-]+( [A-Za-z0-9_./:-]+)*")
_TYPE = re.compile(r"[a-z0-9_]+( [.:] [a-z0-9_]+)*")
_FLAG = re.compile(r"[a-z]+")
_COMMENT = re.compile(r"[A-Za-z0-9_./:@, -]{1,128}")
_ELEMENT_COMMENT = re.compile(r"[A-Za-z0-9_./:-]{1,128}")
_QUOTED = re.compile(rf' comment "{_COMMENT.pattern}"')
_UNSAFE = re.compile(r"""[^ -~]|["'#$\\]""")


class UnsafeTextError(NetlabError):
    """A text that must not stand in an nft script."""


def _refuse(what: str, text: str) -> None:
    shown = repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}... ({len(text)} characters)"
    raise UnsafeTextError(f"The {what} {shown} cannot stand in an nft script.")


def _need(pattern: re.Pattern[str], what: str, text: str, longest: int) -> None:
    if len(text) > longest or not pattern.fullmatch(text):
        _refuse(what, text)


def check_name(what: str, name: str) -> None:
    """Raise UnsafeTextError unless a text can name a table, chain or set."""
    _need(_NAME, what, name, LONGEST_NAME)


def check_element(text: str) -> None:
    """Raise UnsafeTextError unless a text can be the key or value of an element."""
    _need(_ELEMENT, "element", text, LONGEST_ELEMENT)


def script_of(commands: Iterable[str]) -> str:
    """Return commands as a script. Raises UnsafeTextError when one holds a character that no command of ours has."""
    lines: list[str] = []
    for command in commands:
        if _UNSAFE.search(command) and _UNSAFE.search(_QUOTED.sub("", command)):
            _refuse("command", command)
        lines.append(f"{command}\n")
    return "".join(lines)


def check_fragment(fragment: Fragment) -> None:
    """Raise UnsafeTextError for the first text of a fragment that cannot stand in a script."""
    for name, chain in fragment.chains.items():
        check_name("chain name", name)
        _check_chain(chain)
    for name, declared in fragment.sets.items():
        check_name("set name", name)
        _check_set(declared)
    for name, members in fragment.elements.items():
        check_name("set name", name)
        for key, value in members.items():
            check_element(key)
            if value:
                check_element(value)
    for members in fragment.comments.values():
        for comment in members.values():
            _need(_ELEMENT_COMMENT, "comment", comment, LONGEST_COMMENT)


def _check_chain(chain: Chain) -> None:
    check_name("chain name", chain.name)
    _check_comment(chain.comment)
    for rule in chain.rules:
        too_long = len(rule) > LONGEST_RULE or any(len(word.lstrip("@")) > LONGEST_NAME for word in rule.split())
        if too_long or not is_known(rule):
            _refuse("rule", rule)


def _check_set(declared: Set) -> None:
    check_name("set name", declared.name)
    _check_comment(declared.comment)
    _need(_TYPE, "set type", declared.type, LONGEST_NAME)
    for flag in declared.flags:
        _need(_FLAG, "set flag", flag, LONGEST_NAME)
    if not 0 <= declared.timeout < LONGEST_TIMEOUT:
        _refuse("timeout", str(declared.timeout))


def _check_comment(comment: str) -> None:
    if comment:
        _need(_COMMENT, "comment", comment, LONGEST_COMMENT)


def vet(ruleset: Ruleset, known: Mapping[str, Fragment]) -> tuple[Ruleset, dict[str, Exception]]:
    """Return a table without the fragments that cannot be written, and why those cannot.

    `known` are fragments vetted before: the same objects are not looked at again.
    """
    check_name("family", ruleset.family)
    check_name("table name", ruleset.table)
    _check_comment(ruleset.comment)
    refused: dict[str, Exception] = {}
    for key, fragment in ruleset.fragments.items():
        if known.get(key) is fragment:
            continue
        with Contained() as attempt:
            check_fragment(fragment)
        if attempt.error:
            refused[key] = attempt.error
    return without(ruleset, refused), refused


def without(ruleset: Ruleset, keys: Iterable[str]) -> Ruleset:
    """Return a table without some of its fragments."""
    left_out = frozenset(keys)
    if not left_out:
        return ruleset
    kept = {key: fragment for key, fragment in ruleset.fragments.items() if key not in left_out}
    return replace(ruleset, fragments=kept)
