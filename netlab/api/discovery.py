"""discovery.k8s.io/v1: EndpointSlice, with the three conditions read as Kubernetes reads them."""

from __future__ import annotations

from netlab.api.meta import Inert, Object, ObjectReference, Struct
from netlab.api.wellknown import SERVICE_NAME_LABEL


class EndpointConditions(Struct, frozen=True, kw_only=True):
    """Whether an endpoint may get traffic. Unset means ready, serving as ready, not terminating (semantics 5.3)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None

    @property
    def is_ready(self) -> bool:
        return self.ready is not False

    @property
    def is_serving(self) -> bool:
        return self.is_ready if self.serving is None else self.serving

    @property
    def is_terminating(self) -> bool:
        return self.terminating is True


class ForZone(Struct, frozen=True, kw_only=True):
    name: str = ""


class EndpointHints(Struct, frozen=True, kw_only=True):
    for_zones: tuple[ForZone, ...] = ()
    for_nodes: tuple[ForZone, ...] = ()


class Endpoint(Struct, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: ObjectReference | None = None
    hints: EndpointHints | None = None
    deprecated_topology: Inert = None


class EndpointPort(Struct, frozen=True, kw_only=True):
    port: int | None = None
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""


class EndpointSlice(Object, frozen=True, kw_only=True):
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()

    @property
    def service_key(self) -> str:
        """`namespace/name` of the Service this slice belongs to; its name part is empty for an orphan."""
        return f"{self.metadata.namespace}/{self.metadata.labels.get(SERVICE_NAME_LABEL, '')}"
