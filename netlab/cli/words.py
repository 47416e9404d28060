"""The order of words: netlab's own options are understood after the verb, too (`netlab up -q` is `netlab -q up`).

They are moved to the front before anything is parsed. What `exec` runs keeps its own words: nothing is moved from behind the
name of the host, nor, for any verb, from behind `--`. One thing is: options of `exec` itself that stand between the host and
`--`, as who knows kubectl writes them (`exec blue -c color -- ls`). A command does not begin with a dash: nothing else is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

FLAG = re.compile(r"-q+|-v+|--quiet|--verbose|--log-format=.*")
WITH_VALUE = "--log-format"
RUNS_WORDS = "exec"  # the verb whose arguments after the first are another program's
ITS_VALUES = frozenset({"--lab", "-c", "--container"})  # its options whose value is a word of its own, and not the host


def common_first(words: Sequence[str]) -> list[str]:
    """Return the words with the options of netlab itself before the verb, and those of `exec` before the host."""
    front: list[str] = []
    rest: list[str] = []
    arguments = 0  # of the verb, and the verb
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
    """Move what stands between the host and `--` to before the host, when it begins like an option."""
    if behind[0] == "--" or not behind[0].startswith("-") or "--" not in behind:
        return [*called, *behind]
    end = behind.index("--")
    return [*common_first([*called[:-1], *behind[:end], called[-1]]), *behind[end:]]


def _verb(words: Sequence[str]) -> str:
    return next((word for word in words if not word.startswith("-")), "")
