"""Whose a network namespace is: the lab's that has it on record, and nobody else's.

A lab records a namespace before it makes it, so one that exists without a record was made by somebody else: by hand, by
another program, or by a lab whose name and host's name give the same text (`a` + `b-node1`, `a-b` + `node1`). It is never
entered, programmed or removed. `netlab gc` knows by the marks inside which ones a lab without a record has left.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from netlab.dataplane.names import NETNS_DIRECTORY
from netlab.errors import LabError
from netlab.runtime.statedir import OWN_NETNS_DIRECTORY, StateDirectory


def refuse_foreign(state: StateDirectory, existing: Iterable[str]) -> None:
    """Raise LabError when one of these namespaces, which exist, is not on the lab's record."""
    recorded = set(state.recorded_namespaces())
    foreign = [name for where in existing if (name := Path(where).name) not in recorded]
    if foreign:
        raise LabError(
            f"these network namespaces exist, and lab {state.lab!r} did not make them: {', '.join(foreign)}",
            remedy="Give the lab another name (netlab up --name), or remove them: `netlab down` or `netlab gc` what a lab "
            "left behind, `ip netns delete NAME` anything else.",
        )


def record(state: StateDirectory, paths: Iterable[str]) -> None:
    """Put namespaces on the lab's record; do it before they are made."""
    wanted = list(paths)
    if wanted and not Path(NETNS_DIRECTORY).exists():
        (state.root.parent / OWN_NETNS_DIRECTORY).touch()
    for where in wanted:
        (state.namespaces / Path(where).name).touch()


def strike_off(state: StateDirectory, paths: Iterable[str]) -> None:
    """Take namespaces off the lab's record; do it after they are gone."""
    for where in paths:
        (state.namespaces / Path(where).name).unlink(missing_ok=True)
