"""What the API server asks about a kind.

A `Kind` holds every fact that differs between kinds; the steps of a request are the same for all of them and read the
`Kind` of the resource (`table.kind_of`). A field that a kind does not state has the default of most kinds, so a kind
without any peculiarity is one line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netlab.api.resources import Resource


@dataclass(frozen=True)
class Subresource:
    """A path below an object: its name, the kind of the bodies it takes, and the verbs it has."""

    name: str
    kind: str
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """One kind.

    - `selectable`: the fields of field selectors, besides name and namespace
    - `categories`: names of groups of kinds, as in `kubectl get all`
    - `more_subresources`: those besides `status`
    - `returns_deleted`: a delete answers with the object also when the object is gone (Kubernetes' ReturnDeletedObject);
      other kinds answer with a Status then
    """

    resource: Resource[Any]
    selectable: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    more_subresources: tuple[Subresource, ...] = ()
    returns_deleted: bool = False

    @property
    def subresources(self) -> tuple[Subresource, ...]:
        """All subresources of the kind's objects."""
        if not self.resource.has_status:
            return self.more_subresources
        status = Subresource("status", self.resource.kind, ("get", "patch", "update"))
        return (status, *self.more_subresources)
