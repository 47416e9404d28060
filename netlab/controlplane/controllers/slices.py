"""Packing endpoints into EndpointSlices with as few writes as possible (Kubernetes' endpointslice reconciler).

Endpoints with the same ports share slices (semantics 5.8). For each set of ports:

1. Slices keep the endpoints that are still wanted, in place; one that changed is replaced there. A slice left empty
   is deleted.
2. New endpoints first fill slices that are being written anyway, the fullest first.
3. What is left goes, as a whole, into one unchanged slice that has just enough room; otherwise into new slices.
   Several slices are never updated to save one new one, and nothing is rebalanced (semantics 5.6).
4. A slice to be deleted and a new one to be made become one update: the empty slice of a Service whose first pods
   have just come keeps its name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from netlab.api.discovery import Endpoint, EndpointPort, EndpointSlice
from netlab.api.meta import Labels, ObjectMeta, OwnerReference
from netlab.api.wellknown import SERVICE_NAME_LABEL, SLICE_MANAGED_BY_LABEL
from netlab.controlplane.controllers.naming import unused_name
from netlab.controlplane.controllers.writes import Create, Delete, Write, create, delete, update

SLICE_CAPACITY = 100  # --max-endpoints-per-slice
Ports = tuple[EndpointPort, ...]
Identity = tuple[tuple[str, ...], str, str]


@dataclass(frozen=True)
class SliceSet:
    """What all slices of one Service have in common, whoever fills them."""

    namespace: str
    service: str
    managed_by: str
    owner: OwnerReference | None
    labels: Labels
    annotations: Labels
    capacity: int = SLICE_CAPACITY
    placeholder: bool = False  # keep one empty slice when there are no endpoints

    @property
    def all_labels(self) -> Labels:
        """The labels of each slice (semantics 5.9)."""
        return {**self.labels, SERVICE_NAME_LABEL: self.service, SLICE_MANAGED_BY_LABEL: self.managed_by}

    def slice(self, name: str, ports: Ports, endpoints: Sequence[Endpoint]) -> EndpointSlice:
        """Return a new slice."""
        meta = ObjectMeta(
            name=name,
            namespace=self.namespace,
            labels=self.all_labels,
            annotations=self.annotations,
            owner_references=(self.owner,) if self.owner else (),
        )
        return EndpointSlice(metadata=meta, address_type="IPv4", endpoints=tuple(endpoints), ports=ports)

    def owns(self, piece: EndpointSlice) -> bool:
        """Return whether a slice is one of this set; one made for an earlier Service of the same name is not."""
        if piece.metadata.labels.get(SLICE_MANAGED_BY_LABEL) != self.managed_by:
            return False
        return self.owner is None or any(reference.uid == self.owner.uid for reference in piece.metadata.owner_references)


def identity(endpoint: Endpoint) -> Identity:
    """Return what makes an endpoint the same one when its conditions change."""
    return endpoint.addresses, endpoint.target_ref.uid if endpoint.target_ref else "", endpoint.node_name


def plan_slices(
    common: SliceSet, wanted: Mapping[Ports, Sequence[Endpoint]], existing: Sequence[EndpointSlice], in_use: Collection[str]
) -> list[Write]:
    """Return the writes that turn the existing slices of a set into the wanted endpoints by ports.

    `existing` may hold slices of others for the same Service: they are left alone. `in_use` are the names of all
    slices of the namespace.
    """
    groups = dict(wanted)
    if not groups and common.placeholder:
        groups = {(): ()}
    mine = [piece for piece in existing if common.owns(piece)]
    names = set(in_use)
    writes: list[Write] = [delete(piece) for piece in mine if piece.ports not in groups]
    for ports in sorted(groups, key=msgspec.json.encode):
        same = [piece for piece in mine if piece.ports == ports]
        writes += _plan_group(common, ports, groups[ports], same, names)
    return _recycle(writes, {piece.metadata.name: piece for piece in mine})


def _recycle(writes: Sequence[Write], mine: Mapping[str, EndpointSlice]) -> list[Write]:
    """Turn pairs of a deletion and a creation into one update: the old slice gets the new one's content."""
    going = [write for write in writes if isinstance(write, Delete)]
    coming = [write for write in writes if isinstance(write, Create)]
    pairs = list(zip(going, coming, strict=False))
    recycled = [_refill(mine[old.name], new.object) for old, new in pairs if isinstance(new.object, EndpointSlice)]
    done = {id(write) for pair in pairs for write in pair}
    return [*(write for write in writes if id(write) not in done), *recycled]


def _refill(old: EndpointSlice, new: EndpointSlice) -> Write:
    meta = msgspec.structs.replace(old.metadata, labels=new.metadata.labels, annotations=new.metadata.annotations)
    return update(msgspec.structs.replace(old, metadata=meta, endpoints=new.endpoints, ports=new.ports))


def _plan_group(
    common: SliceSet, ports: Ports, wanted: Sequence[Endpoint], existing: Sequence[EndpointSlice], names: set[str]
) -> list[Write]:
    missing = {identity(endpoint): endpoint for endpoint in wanted}
    filled = {piece.metadata.name: _keep(piece, missing) for piece in existing}
    touched = {piece.metadata.name for piece in existing if tuple(filled[piece.metadata.name]) != piece.endpoints}
    rest = list(missing.values())
    for name in sorted(touched, key=lambda name: (-len(filled[name]), name)):
        rest = _fill(filled[name], rest, common.capacity)
    fresh: list[EndpointSlice] = []
    while rest:
        home = _just_enough_room(filled, len(rest), common.capacity)
        if home is not None:
            touched.add(home)
            rest = _fill(filled[home], rest, common.capacity)
        else:
            fresh.append(_new_slice(common, ports, rest[: common.capacity], names))
            rest = rest[common.capacity :]
    keep_one = common.placeholder and not wanted and not fresh
    return [*_rewrite(common, existing, filled, keep_one=keep_one, names=names, ports=ports), *map(create, fresh)]


def _keep(piece: EndpointSlice, missing: dict[Identity, Endpoint]) -> list[Endpoint]:
    """Return the wanted endpoints that a slice already has, as they should be, and strike them off `missing`."""
    kept = (missing.pop(identity(endpoint), None) for endpoint in piece.endpoints)
    return [endpoint for endpoint in kept if endpoint is not None]


def _fill(endpoints: list[Endpoint], rest: list[Endpoint], capacity: int) -> list[Endpoint]:
    """Put as many of `rest` into a slice as fit, and return the others."""
    room = max(capacity - len(endpoints), 0)
    endpoints += rest[:room]
    return rest[room:]


def _just_enough_room(filled: Mapping[str, list[Endpoint]], count: int, capacity: int) -> str | None:
    """Return the fullest slice that can take `count` more endpoints."""
    fitting = [name for name, endpoints in filled.items() if endpoints and len(endpoints) + count <= capacity]
    return max(fitting, key=lambda name: (len(filled[name]), name), default=None)


def _new_slice(common: SliceSet, ports: Ports, endpoints: Sequence[Endpoint], names: set[str]) -> EndpointSlice:
    name = unused_name(common.service, names)
    names.add(name)
    return common.slice(name, ports, endpoints)


def _rewrite(
    common: SliceSet,
    existing: Sequence[EndpointSlice],
    filled: Mapping[str, list[Endpoint]],
    *,
    keep_one: bool,
    names: set[str],
    ports: Ports,
) -> list[Write]:
    """Return the updates of changed slices and the deletions of empty ones, one kept if asked for."""
    writes: list[Write] = []
    for piece in existing:
        endpoints = tuple(filled[piece.metadata.name])
        if not endpoints and not keep_one:
            writes.append(delete(piece))
            continue
        keep_one = keep_one and bool(endpoints)
        if endpoints != piece.endpoints or not _dressed(common, piece):
            meta = msgspec.structs.replace(piece.metadata, labels=common.all_labels, annotations=common.annotations)
            writes.append(update(msgspec.structs.replace(piece, metadata=meta, endpoints=endpoints)))
    if keep_one:
        writes.append(create(_new_slice(common, ports, (), names)))
    return writes


def _dressed(common: SliceSet, piece: EndpointSlice) -> bool:
    return piece.metadata.labels == common.all_labels and piece.metadata.annotations == common.annotations
