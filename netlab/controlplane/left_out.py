"""The objects that a process leaves out of what it programs, each logged once, and reported to others through its Lease.

A part of a process (rules, overlay, dns) reports after each round which objects it left out and why; `report` logs what is new
and what is right again. `problems` is what the Lease's annotation `netlab/problems` holds: few and short, as an object that
any user may write must not be able to fill a Lease.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from netlab.api.coordination import Lease
from netlab.api.wellknown import EDGE_LEASE, node_lease
from netlab.containment import describe

MOST_TOLD: Final = 8  # problems per part in a Lease
LONGEST_TOLD: Final = 300  # characters
Problems = dict[str, list[str]]  # part -> sentences


class LeftOut:
    """What each part of a process leaves out."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._refused: dict[str, dict[str, str]] = {}  # part -> object -> why

    def report(self, part: str, refused: Mapping[str, Exception]) -> None:
        """Record what a part leaves out now; log what has changed.

        The name "" stands for all of it: the part itself has failed, which whoever contained it has logged.
        """
        before, after = self._refused.get(part, {}), {name: describe(error) for name, error in refused.items()}
        for name, why in after.items():
            if name and before.get(name) != why:
                unexpected = refused[name] if why.startswith("internal error") else None
                self._log.warning("part=%s object=%r state=left-out error=%r", part, name, why, exc_info=unexpected)
        for name in before.keys() - after.keys() - {""}:
            self._log.info("part=%s object=%r state=taken-in", part, name)
        self._refused[part] = after

    @property
    def problems(self) -> Problems:
        """Return the problems of each part that has any, for a Lease."""
        told: Problems = {}
        for part, refused in sorted(self._refused.items()):
            sentences = [(f"{name}: {why}" if name else why)[:LONGEST_TOLD] for name, why in sorted(refused.items())]
            if len(sentences) > MOST_TOLD:
                sentences[MOST_TOLD:] = [f"and {len(sentences) - MOST_TOLD} more"]
            if sentences:
                told[part] = sentences
        return told


def told_problems(leases: Mapping[str, Lease], nodes: Iterable[str]) -> Iterator[str]:
    """Yield what agents and edge report as left out: `agent of node1: overlay: ...`. `leases` by key."""
    holders = [(node_lease(node), f"agent of {node}") for node in nodes]
    for key, who in (*holders, (EDGE_LEASE, "edge")):
        yield from (f"{who}: {problem}" for problem in (leases[key].problems if key in leases else ()))
