"""How `up` turns manifests into objects of the API server: `kubectl apply`'s rule, and pruning.

Theory. An applied object remembers the manifest it came from in the annotation
`kubectl.kubernetes.io/last-applied-configuration`. The next `up` computes a merge patch (RFC 7386) from three things:

    last applied  what the user wrote last time
    manifest      what the user writes now
    live          what the server has: that and defaults, allocated addresses, status, other people's annotations

A key that left the manifest is removed, a key of the manifest that was edited or differs in the
live object is set, and everything else stays. Lists are replaced as a whole, as in a merge patch;
the server keeps allocated node ports. A value that the server has added to a list's items is not a
difference, but a value that the user has removed is an edit: only the last manifest distinguishes
the two, the live list does not. So a second `up` of the same file yields an empty patch and sends
no write.

Objects that carry netlab's mark and are no longer in the file are pruned.

Order (`_rank`). The order in the file does not affect the outcome: namespaces before what is in
them; Services that are removed or changed before new ones, which may need their node port or
address; and all Services before pods, whose environment variables list the Services once, when they
start (semantics 12.1). Deletions follow. The Lab object of a new lab is last: the scheduler waits
for its nodes, so it places all pods at once, in the order of their names, and not in the order of
arrival.

Nothing here has effects: the result is a list of `Change`, which `netlab.lab.converge` performs and `--dry-run` prints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from netlab.api.resources import ENDPOINTS, SERVICES, Json, Resource
from netlab.api.wellknown import APPLIED, LAST_APPLIED
from netlab.controlplane.kinds.table import kind_of
from netlab.topology import Manifest

Identity = tuple[str, str, str]  # plural, namespace, name


class Verb(Enum):
    """What to do with an object; the values are shown to the user."""

    CREATE = "created"
    PATCH = "configured"
    DELETE = "pruned"


@dataclass(frozen=True)
class Change:
    """One write: the body to create, the merge patch, or nothing for a deletion."""

    verb: Verb
    resource: Resource[Any]
    namespace: str
    name: str
    body: Json

    def __str__(self) -> str:
        group = f".{self.resource.group}" if self.resource.group else ""
        return f"{self.resource.kind.lower()}{group}/{self.name} {self.verb.value}"


def identity(resource: Resource[Any], body: Json) -> Identity:
    """Return the identity of an object."""
    meta = body["metadata"]
    return (resource.plural, meta.get("namespace", "") if resource.namespaced else "", meta["name"])


def merge_patch(last: Json, wanted: Json, live: Json) -> Json:
    """Return the merge patch from `live` to `wanted`; `last` is the last applied manifest."""
    patch: Json = {key: None for key in last if key not in wanted and key in live}
    for key, value in wanted.items():
        current = live.get(key)
        if isinstance(value, dict) and isinstance(current, dict):
            before = last.get(key)
            inner = merge_patch(before if isinstance(before, dict) else {}, value, current)
            if inner:
                patch[key] = inner
        elif last.get(key, value) != value or not _covers(current, value):
            patch[key] = value
    return patch


def _covers(live: Any, wanted: Any) -> bool:
    """Return whether a live value contains all that is wanted.

    Additions of the server do not count.
    """
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and _covers(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(_covers, live, wanted))
    return bool(live == wanted and isinstance(live, bool) == isinstance(wanted, bool))


def plan(
    manifests: Iterable[Manifest], live: Mapping[Identity, Json], resources: Mapping[str, Resource[Any]]
) -> tuple[Change, ...]:
    """Return the writes that change `live` to match the manifests, in a valid order.

    `live` holds at least every object that the manifests name and every object that carries the mark.
    """
    wanted = _of_the_user(manifests)
    changes = [change for manifest in wanted if (change := _change(manifest, live)) is not None]
    kept = {identity(manifest.resource, manifest.body) for manifest in wanted}
    for key, body in live.items():
        if key not in kept and APPLIED in body["metadata"].get("annotations", {}):
            changes.append(Change(Verb.DELETE, resources[key[0]], key[1], key[2], {}))
    return tuple(sorted(changes, key=_rank))


def _of_the_user(manifests: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """Leave out Endpoints of a Service with a selector: a controller overwrites their content."""
    everything = tuple(manifests)
    selecting = {
        identity(m.resource, m.body)[1:] for m in everything if m.resource is SERVICES and m.body.get("spec", {}).get("selector")
    }
    return tuple(m for m in everything if m.resource is not ENDPOINTS or identity(m.resource, m.body)[1:] not in selecting)


FIRST = (  # kind and verb: these in this order, then the others, then workloads, then deletions
    ("Namespace", Verb.CREATE),
    ("Namespace", Verb.PATCH),
    ("Lab", Verb.PATCH),
    ("Service", Verb.DELETE),
    ("Service", Verb.PATCH),
    ("Service", Verb.CREATE),
)
LAST = ("Lab", Verb.CREATE)


def _rank(change: Change) -> int:
    kind = change.resource.kind
    if (kind, change.verb) in FIRST:
        return FIRST.index((kind, change.verb))
    if (kind, change.verb) == LAST:
        return len(FIRST) + 3
    if change.verb is Verb.DELETE:
        return len(FIRST) + 2
    return len(FIRST) + kind_of(change.resource).makes_pods


def _change(manifest: Manifest, live: Mapping[Identity, Json]) -> Change | None:
    resource, body = manifest.resource, manifest.body
    key = identity(resource, body)
    marked = _with_annotations(body)
    current = live.get(key)
    if current is None:
        return Change(Verb.CREATE, resource, key[1], key[2], marked)
    annotations = current["metadata"].get("annotations", {})
    last = msgspec.json.decode(annotations.get(LAST_APPLIED, "{}"))
    patch = merge_patch(_desired(last), _desired(marked), current)
    return Change(Verb.PATCH, resource, key[1], key[2], patch) if patch else None


def adoption(change: Change, live: Json) -> Change:
    """Return the patch that changes an existing object to what its creation requested."""
    patch = merge_patch({}, _desired(change.body), live)
    return Change(Verb.PATCH, change.resource, change.namespace, change.name, patch)


def _with_annotations(body: Json) -> Json:
    """Return the manifest with netlab's mark and the annotation that contains the manifest."""
    text = msgspec.json.encode(body, order="sorted").decode()
    meta = body["metadata"]
    annotations = {**(meta.get("annotations") or {}), LAST_APPLIED: text, APPLIED: "true"}
    return {**body, "metadata": {**meta, "annotations": annotations}}


def _desired(body: Json) -> Json:
    """Return the compared part of a manifest: without its type and status."""
    return {key: value for key, value in body.items() if key not in {"apiVersion", "kind", "status"}}
