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
class Kind:
    """One kind. `selectable`: the fields of field selectors, besides name and namespace."""

    resource: Resource[Any]
    selectable: tuple[str, ...] = ()
