"""What every Kubernetes object has: type, metadata, and how its field names are written.

Objects are frozen msgspec structs in snake_case; on the wire they are Kubernetes' camelCase
(`cluster_ip` <-> `clusterIP`). A field of type `Inert` is one that a manifest may hold and that has no
effect on the network: accepted, kept, and named in a note to the user (principle 3).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

ACRONYMS = {"ip": "IP", "ips": "IPs", "cidr": "CIDR", "cidrs": "CIDRs", "fqdn": "FQDN", "id": "ID",
            "pid": "PID", "ipc": "IPC", "url": "URL"}  # fmt: skip


def wire_name(attribute: str) -> str:
    """Return the Kubernetes spelling of a field: `external_ips` -> `externalIPs`."""
    first, *rest = attribute.rstrip("_").split("_")
    return first + "".join(ACRONYMS.get(word, word.capitalize()) for word in rest)


class Struct(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name, omit_defaults=True):
    """The base of all API types: immutable, keyword-only, defaults left out on the wire."""


# Marks a field that is accepted and has no effect on the network. `extra` lets the decoder recognize it.
INERT = msgspec.Meta(extra={"inert": True})
Inert = Annotated[Any, INERT]  # one that no part of netlab reads; a field that is read has a type as well
Labels = dict[str, str]
Quantity = str | float  # an amount of a resource: "500m", "64Mi", 2


class OwnerReference(Struct, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(Struct, frozen=True, kw_only=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: Labels = {}
    annotations: Labels = {}
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    self_link: Inert = None
    managed_fields: Inert = None


class Object(Struct, frozen=True, kw_only=True):
    """A Kubernetes object: apiVersion, kind, metadata; kinds add spec and status."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> str:
        """`namespace/name`, or `name` for a cluster-scoped object."""
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


class Condition(Struct, frozen=True, kw_only=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_probe_time: str | None = None
    last_heartbeat_time: str | None = None
    last_update_time: str | None = None
    observed_generation: int = 0


class LabelSelectorRequirement(Struct, frozen=True, kw_only=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Struct, frozen=True, kw_only=True):
    match_labels: Labels = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class ObjectReference(Struct, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""
