"""Planning object by object: a failure of one object is a value beside the writes for the others.

Theory. A controller of Kubernetes takes one key at a time from its work queue; an error (or a panic, which
HandleCrash turns into one) concerns that key alone. A controller here plans for all objects at once, so
it goes through them with `each`: the steps for one object are complete before any is taken, so that an
object has all its writes or none, and an exception becomes `Failed(object, error)`. `Failed` is a step as
a write is: the manager records it, sends an Event about the object and plans the object again later.

What needs all objects together (the indexes of a `World`, the placements of the scheduler) is made with
`grouped` and `collect`, which leave out the entry of an object that raises.

Pure. `netlab.containment` holds the exception handler itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from netlab.api.meta import Object
from netlab.api.resources import BY_TYPE
from netlab.containment import Contained, describe
from netlab.controlplane.controllers.writes import Write

T = TypeVar("T", bound=Object)
Key = TypeVar("Key")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failed:
    """An object for which nothing could be planned, and why."""

    object: Object
    error: Exception

    def __str__(self) -> str:
        return f"failed {self.key}: {self.message}"

    @property
    def key(self) -> str:
        """The object by plural and key: `deployments/default/blue`."""
        return identity(self.object)

    @property
    def message(self) -> str:
        """What happened, in one line."""
        return describe(self.error)


Step = Write | Failed


def identity(obj: Object) -> str:
    """Return an object's name among those of all kinds: `deployments/default/blue`."""
    return f"{BY_TYPE[type(obj)].plural}/{obj.key}"


def each(objects: Iterable[T], plan: Callable[[T], Iterable[Step]]) -> list[Step]:
    """Return the steps for each object in turn; for one whose plan raises, that it failed."""
    planned, failures = collect(objects, lambda obj: list(plan(obj)))
    steps: list[Step] = [step for mine in planned for step in mine]
    return [*steps, *failures]


def collect(objects: Iterable[T], make: Callable[[T], Result]) -> tuple[list[Result], list[Failed]]:
    """Return what is made of each object, in order, and the objects of which nothing could be made."""
    made: list[Result] = []
    failures: list[Failed] = []
    for obj in objects:
        with Contained() as attempt:
            made.append(make(obj))
        if attempt.error is not None:
            failures.append(Failed(obj, attempt.error))
    return made, failures


def grouped(objects: Mapping[str, T], entries: Callable[[T], Iterable[Key]], failures: list[Failed]) -> Mapping[Key, list[T]]:
    """Return the objects by each of their entries, sorted by key; add to `failures` those that raise."""
    ordered = [objects[key] for key in sorted(objects)]
    found: defaultdict[Key, list[T]] = defaultdict(list)
    made, failed = collect(ordered, lambda obj: (obj, tuple(entries(obj))))
    for obj, keys in made:
        for key in keys:
            found[key].append(obj)
    failures += failed
    return found
