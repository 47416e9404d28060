"""coordination.k8s.io/v1: Lease, with what netlab's own processes say in its annotations (docs/architecture.md, Convergence)."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from netlab.api.meta import Object, Struct
from netlab.api.numbers import whole_number
from netlab.api.wellknown import LOAD_BALANCERS, SYNCED

T = TypeVar("T")
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
        """Its holder has programmed its kernel at least once."""
        return SYNCED in self.metadata.annotations

    def synced(self, plural: str) -> int:
        """Return the resourceVersion of a kind up to which the holder's kernel is programmed; 0 when it does not say."""
        return whole_number(self._annotation(SYNCED, dict[str, str]).get(plural))

    @property
    def healthy_nodes(self) -> Health:
        """Who can take traffic behind every load balancer address; empty for a holder other than the edge."""
        return self._annotation(LOAD_BALANCERS, Health)

    def _annotation(self, name: str, form: type[T]) -> T:
        """Return an annotation's JSON, empty where it is missing or somebody has written nonsense into it."""
        try:
            return msgspec.json.decode(self.metadata.annotations.get(name, "{}"), type=form)
        except (msgspec.DecodeError, RecursionError):  # a hundred thousand brackets are no annotation either
            return form()
