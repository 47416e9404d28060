"""Validation on write: the rules of the topology file, plus what keeps a name usable as a file and a path."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from netlab.api.resources import LABS, Json
from netlab.controlplane.status import AnyResource, FieldProblem, Problem
from netlab.topology.validation import problems_of as topology_problems_of

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def name_problems(body: Json) -> list[FieldProblem]:
    """Refuse a name that is no DNS-1123 subdomain: it becomes a path, a file and a host name."""
    name = body["metadata"].get("name", "")
    if not name:
        return [FieldProblem("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")]
    if _NAME.fullmatch(name) and ".." not in name:
        return []
    text = (
        f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters,'
        " '-' or '.', and must start and end with an alphanumeric character"
    )
    return [FieldProblem("metadata.name", text)]


def problems_in(lab: str) -> Callable[[AnyResource, Json], Sequence[Problem]]:
    """Return `problems_of` as the API server of one lab has it: no other Lab is made by writing its object there."""

    def problems(resource: AnyResource, body: Json) -> Sequence[Problem]:
        found = problems_of(resource, body)
        if resource is not LABS or body["metadata"].get("name") == lab:
            return found
        text = (
            f'Invalid value: "{body["metadata"].get("name", "")}": this API server is the one of lab "{lab}" and knows no other'
        )
        return [*found, FieldProblem("metadata.name", f"{text}; `netlab up FILE` makes another lab")]

    return problems


def problems_of(resource: AnyResource, body: Json) -> Sequence[Problem]:
    """Return everything wrong with a complete object."""
    problems: list[Problem] = list(topology_problems_of(resource, body))
    if not any(problem.path == "metadata.name" for problem in problems):
        problems = [*name_problems(body), *problems]
    return problems
