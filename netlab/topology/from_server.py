"""What only an API server writes: fields and objects that a file holds because it is another cluster's output.

`kubectl get -o yaml` prints what the server filled in, and the objects that every cluster has. A lab fills in its own and has
its own, so they are left out: silently where no user wrote them on purpose, else with a note.
"""

from __future__ import annotations

from typing import Any, Final

from netlab.api import resources as r
from netlab.api.resources import Json, Resource
from netlab.api.wellknown import HOST_NAMES, KUBE_DNS, KUBERNETES, SERVICE_NAME_LABEL
from netlab.topology.manifest import Item
from netlab.topology.problem import Problem

SYSTEM_METADATA: Final = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"}
    | {"selfLink", "managedFields"}
)
OWN_SERVICES: Final = frozenset({KUBERNETES, KUBE_DNS})
OF_A_SERVICE: Final = frozenset({r.SERVICES, r.ENDPOINTS, r.ENDPOINT_SLICES})


def without_server_fields(resource: Resource[Any], value: Json) -> tuple[Json, tuple[Problem, ...]]:
    """Return a manifest without what a server fills in, and notes about what may be missed."""
    if resource is r.LABS:
        return value, ()
    notes = []
    if value.get("status"):
        notes.append(Problem(("status",), "ignored: netlab sets this field"))
    rest = {name: content for name, content in value.items() if name != "status"}
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        if metadata.get("ownerReferences"):
            words = "left out: owners are named by uid, and objects get new uids in a lab"
            notes.append(Problem(("metadata", "ownerReferences"), words))
        kept = {key: content for key, content in metadata.items() if key not in SYSTEM_METADATA | {"ownerReferences"}}
        rest["metadata"] = kept
    return rest, tuple(notes)


def is_made_by_netlab(item: Item) -> bool:
    """Return whether every lab has an object: Services kubernetes and kube-dns with their endpoints, ConfigMap coredns."""
    key = f"{item.namespace}/{item.name}"
    if item.resource is r.CONFIG_MAPS:
        return key == HOST_NAMES
    if item.resource is r.ENDPOINT_SLICES:
        owner = item.obj.metadata.labels.get(SERVICE_NAME_LABEL, item.name)
        return key in OWN_SERVICES or f"{item.namespace}/{owner}" in OWN_SERVICES
    return item.resource in OF_A_SERVICE and key in OWN_SERVICES
