"""coordination.k8s.io/v1: Lease, with the annotations of netlab's processes (docs/architecture.md, Convergence)."""

from __future__ import annotations

from itertools import islice
from typing import TypeVar

import msgspec

from netlab.api.meta import Object, Struct
from netlab.api.numbers import whole_number
from netlab.api.wellknown import LOAD_BALANCERS, PROBLEMS, SYNCED

T = TypeVar("T")
MOST_PROBLEMS = 20  # of one holder
LONGEST_PROBLEM = 400  # characters
LONGEST_VERSION = 19  # digits of a resourceVersion: a number of 63 bits
Health = dict[str, dict[str, list[str]]]  # Service -> port -> names of healthy nodes: {"default/blue": {"80/TCP": ["node1"]}}


class LeaseSpec(Struct, frozen=True, kw_only=True):
    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int = 0


class Lease(Object, frozen=True, kw_only=True):
    spec: LeaseSpec = LeaseSpec()

    @property
    def has_reported(self) -> bool:
        """Its holder has programmed its kernel, all of it, at least once."""
        return bool(self._annotation(SYNCED, dict[str, str]))

    def synced(self, plural: str) -> int:
        """Return the resourceVersion of a kind up to which the holder's kernel is programmed; 0 if it does not report one."""
        return whole_number(self._annotation(SYNCED, dict[str, str]).get(plural))

    @property
    def healthy_nodes(self) -> Health:
        """The nodes that take traffic behind every load balancer address; empty for a holder other than the edge."""
        return self._annotation(LOAD_BALANCERS, Health)

    @property
    def problems(self) -> tuple[str, ...]:
        """What its holder could not program: `overlay: node node3: ...`. Few, short, in one line each, whatever it wrote."""
        told = self._annotation(PROBLEMS, dict[str, list[str]])
        lines = (f"{part}: {sentence}" for part, sentences in told.items() for sentence in sentences)
        return tuple(
            "".join(c if c.isprintable() else "?" for c in line[:LONGEST_PROBLEM]) for line in islice(lines, MOST_PROBLEMS)
        )

    def _annotation(self, name: str, form: type[T]) -> T:
        """Return an annotation's JSON, empty where it is missing or invalid."""
        try:
            return msgspec.json.decode(self.metadata.annotations.get(name, "{}"), type=form)
        except (msgspec.DecodeError, RecursionError):  # a hundred thousand brackets are not an annotation either
            return form()
