"""The kinds that the API server serves, in the order of `netlab.api.resources`.

To add a kind, add a module beside this one and its row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from netlab.api.resources import Resource
from netlab.controlplane.kinds import (
    config_map,
    daemon_set,
    deployment,
    endpoint_slice,
    endpoints,
    event,
    lab,
    lease,
    namespace,
    node,
    pod,
    replica_set,
    secret,
    service,
)
from netlab.controlplane.kinds.kind import Kind

KINDS: Final[tuple[Kind, ...]] = (
    namespace.KIND,
    node.KIND,
    pod.KIND,
    service.KIND,
    endpoints.KIND,
    config_map.KIND,
    secret.KIND,
    event.KIND,
    deployment.KIND,
    replica_set.KIND,
    daemon_set.KIND,
    endpoint_slice.KIND,
    lease.KIND,
    lab.KIND,
)
_BY_PLURAL: Final[Mapping[str, Kind]] = {kind.resource.plural: kind for kind in KINDS}


def kind_of(resource: Resource[Any]) -> Kind:
    """Return the kind of a resource of `netlab.api.resources`."""
    return _BY_PLURAL[resource.plural]
