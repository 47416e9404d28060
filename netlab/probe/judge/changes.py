"""What changed in the lab while its checks ran, and which checks that concerns.

A check's expectation is computed from the objects listed before the run. If an object changes during the run, the check may fail
although the lab is healthy. So the objects are listed again at the end, and a check is run once more, with the expectation of
the second list, if it is new or different there, or if it failed and one of its objects changed. What changes again during the
repetition cannot be judged: the check is "not tested".

Two lists are compared by what checks depend on: a change of a pod concerns the checks from and to it, a change of a Service
or its EndpointSlices those of the Service, a change of the set of nodes or of the Lab all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from netlab.api.cluster import Node
from netlab.api.meta import Object, ObjectMeta
from netlab.api.wellknown import HOST_NAMES
from netlab.probe.plan.checks import Ask, Check, LookUp, Reach
from netlab.probe.plan.snapshot import Snapshot

T = TypeVar("T", bound=Object)
VERSIONS = {"resource_version": "", "generation": 0}


@dataclass(frozen=True)
class Changes:
    """The objects that differ: `places` by the names of pods, `services` by key; `names`: hosts in DNS; `all`: every check."""

    places: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    names: bool = False
    all: bool = False

    def __bool__(self) -> bool:
        return bool(self.places or self.services or self.names or self.all)

    def concern(self, check: Check) -> bool:
        """Return whether a check depends on something that changed."""
        action = check.action
        target = action.target.name if isinstance(action, Reach) else ""
        asks = self.names and isinstance(action, Ask | LookUp)
        return self.all or asks or bool({check.source.name, target} & self.places) or check.subject in self.services


NOTHING = Changes()


def compare(before: Snapshot, after: Snapshot) -> Changes:
    """Return what differs between two lists of one lab's objects."""
    slices = [*before.slices, *after.slices]
    owners = {piece.key: piece.service_key for piece in slices}
    hosts = [{c.key: c for c in s.config_maps if c.key == HOST_NAMES} for s in (before, after)]
    return Changes(
        places=frozenset(_changed(_by_key(before.pods), _by_key(after.pods))),
        services=frozenset(
            (
                *_changed(_by_key(before.services), _by_key(after.services)),
                *(owners[key] for key in _changed(_by_key(before.slices), _by_key(after.slices))),
            )
        ),
        names=bool(_changed(*hosts)),
        all=before.lab.spec != after.lab.spec or _network(before.nodes) != _network(after.nodes),
    )


def repeated(checks: Iterable[Check], done: Mapping[str, Check], failed: frozenset[str], changes: Changes) -> tuple[Check, ...]:
    """Return which checks of a second plan to run: those that are new or different, and failed ones that a change concerns.

    `done` are the checks that were run, by id; `failed` the ids of those that did not pass.
    """
    return tuple(c for c in checks if done.get(c.id) != c or (c.id in failed and changes.concern(c)))


def _by_key(objects: Iterable[T]) -> dict[str, T]:
    return {obj.key: obj for obj in objects}


def _changed(before: Mapping[str, T], after: Mapping[str, T]) -> set[str]:
    keys = before.keys() | after.keys()
    return {key for key in keys if _content(before.get(key)) != _content(after.get(key))}


def _content(obj: T | None) -> T | None:
    """Return an object without the server's counters."""
    if obj is None:
        return None
    meta: ObjectMeta = msgspec.structs.replace(obj.metadata, **VERSIONS)
    return msgspec.structs.replace(obj, metadata=meta)


def _network(nodes: Iterable[Node]) -> list[tuple[object, ...]]:
    """Return the fields of nodes that affect the network: heartbeats and conditions change nothing for a packet."""
    return [
        (n.metadata.name, n.metadata.uid, n.metadata.labels, n.spec.pod_cidr, n.internal_ip, n.metadata.deletion_timestamp)
        for n in nodes
    ]
