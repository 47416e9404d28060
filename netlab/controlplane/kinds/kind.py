"""Facts of a kind that the API server uses.

A `Kind` holds every fact that differs between kinds. The steps of a request are the same for all
kinds; they read the `Kind` of the resource (`table.kind_of`). Each field has the default of most
kinds, so that a kind without a peculiarity is one line.

The functions of a `Kind` take bodies, which they may edit. They have no store, clock or user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netlab.api.resources import Json, Resource
from netlab.controlplane.status import FieldProblem


@dataclass(frozen=True)
class Subresource:
    """A path below an object: its name, the kind of the bodies it takes, and the verbs it has."""

    name: str
    kind: str
    verbs: tuple[str, ...]


def _as_it_is(*_bodies: Json) -> None:
    """Change nothing."""


def _no_problems(_new: Json, _old: Json) -> list[FieldProblem]:
    return []


def _at_once(_body: Json, _asked: int | None) -> int:
    return 0


@dataclass(frozen=True)
class Strategy:
    """What a write does to objects of one kind; `netlab.controlplane.strategy` has what is common.

    - `has_generation`: changes of the wanted state are counted in `metadata.generation`
    - `keeps_new_status`: an object may be created with its status
    - `status_has_metadata`: an update of the status may change labels and annotations
    - `creates_on_update`: a PUT creates an object that does not exist
    - `immutable`: fields that no update may change
    - `prepare_create`, `prepare_update`: edit the new body; the second also gets the old one
    - `change_problems`: returns what an update may not change, from the new body and the old one
    - `grace`: returns the seconds that a deletion waits, from the body and the seconds asked for
    """

    has_generation: bool = False
    keeps_new_status: bool = False
    status_has_metadata: bool = False
    creates_on_update: bool = False
    immutable: tuple[str, ...] = ()
    prepare_create: Callable[[Json], None] = _as_it_is
    prepare_update: Callable[[Json, Json], None] = _as_it_is
    change_problems: Callable[[Json, Json], list[FieldProblem]] = _no_problems
    grace: Callable[[Json, int | None], int] = _at_once


@dataclass(frozen=True)
class Kind:
    """One kind.

    - `defaults`: fills the absent fields of a body, on every write; a second time changes nothing
    - `selectable`: the fields of field selectors, besides name and namespace
    - `categories`: names of groups of kinds, as in `kubectl get all`
    - `more_subresources`: those besides `status`
    - `makes_pods`: its objects are pods or make pods
    - `returns_deleted`: a delete answers with the object also when the object is gone
      (Kubernetes' ReturnDeletedObject); the answer for other kinds is a Status then
    """

    resource: Resource[Any]
    strategy: Strategy = Strategy()
    defaults: Callable[[Json], None] = _as_it_is
    selectable: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    more_subresources: tuple[Subresource, ...] = ()
    makes_pods: bool = False
    returns_deleted: bool = False

    @property
    def subresources(self) -> tuple[Subresource, ...]:
        """All subresources of the kind's objects."""
        if not self.resource.has_status:
            return self.more_subresources
        status = Subresource("status", self.resource.kind, ("get", "patch", "update"))
        return (status, *self.more_subresources)
