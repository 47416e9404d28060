"""The order of arguments: netlab's own options may follow the verb, as in `netlab up -q`.

They move to the front before parsing. The command of `exec` keeps its own arguments: nothing after
the name of the host moves, nor, for any verb, anything after `--`. There is one exception: options
of `exec` itself may be between the host and `--`, as in kubectl (`exec blue -c color -- ls`). A
command does not begin with a dash, so this is unambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

FLAG = re.compile(r"-q+|-v+|--quiet|--verbose|--log-format=.*")
WITH_VALUE = "--log-format"
RUNS_WORDS = "exec"  # the verb whose arguments after the first belong to another program
ITS_VALUES = frozenset({"--lab", "-c", "--container"})  # its options with a separate value, which is not the host


def common_first(words: Sequence[str]) -> list[str]:
    """Return the arguments with netlab's options before the verb, `exec`'s before the host."""
    front: list[str] = []
    rest: list[str] = []
    arguments = 0  # index of the verb, and the verb
    remaining = iter(words)
    for word in remaining:
        if word == "--" or (arguments > 1 and _verb(rest) == RUNS_WORDS):
            return [*front, *_options_first(rest, [word, *remaining])]
        if word == WITH_VALUE:
            front += [word, *islice(remaining, 1)]
        elif word in ITS_VALUES and _verb(rest) == RUNS_WORDS:
            rest += [word, *islice(remaining, 1)]
        elif FLAG.fullmatch(word):
            front.append(word)
        else:
            rest.append(word)
            arguments += not word.startswith("-")
    return [*front, *rest]


def _options_first(called: list[str], behind: list[str]) -> list[str]:
    """Move the options between the host and `--` to before the host."""
    if behind[0] == "--" or not behind[0].startswith("-") or "--" not in behind:
        return [*called, *behind]
    end = behind.index("--")
    return [*common_first([*called[:-1], *behind[:end], called[-1]]), *behind[end:]]


def _verb(words: Sequence[str]) -> str:
    return next((word for word in words if not word.startswith("-")), "")
