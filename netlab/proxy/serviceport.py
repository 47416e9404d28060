"""One port of one Service as a node must serve it: the noun that every proxy mode compiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from netlab.api.values import Cidr, Ip, Transport
from netlab.proxy.endpoints import NO_ENDPOINTS, EndpointInfo, UsableEndpoints


@dataclass(frozen=True)
class ServicePortInfo:
    """One port of one Service, as this node must serve it. `protocol` is in lower case."""

    namespace: str
    service: str
    port_name: str
    protocol: Transport
    cluster_ip: Ip
    port: int
    node_port: int = 0
    external_ips: tuple[Ip, ...] = ()
    load_balancer_ips: tuple[Ip, ...] = ()
    source_ranges: tuple[Cidr, ...] = ()  # prefixes that do not overlap; empty: no restriction
    affinity_timeout: int = 0  # seconds; 0: no session affinity
    external_local: bool = False
    internal_local: bool = False
    health_check_node_port: int = 0
    endpoints: tuple[EndpointInfo, ...] = ()  # all of them, in any state
    usable: UsableEndpoints = NO_ENDPOINTS

    @property
    def name(self) -> str:
        """`namespace/service:port`, as kube-proxy writes it."""
        return f"{self.namespace}/{self.service}" + (f":{self.port_name}" if self.port_name else "")

    @property
    def externally_accessible(self) -> bool:
        """It can be reached by another address than the ClusterIP."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def uses_cluster(self) -> bool:
        """Some traffic may go to any endpoint; a node and its pods may even when external traffic is Local (6.4)."""
        return not self.internal_local or self.externally_accessible

    @property
    def uses_local(self) -> bool:
        """Some traffic must stay on this node."""
        return self.internal_local or (self.external_local and self.externally_accessible)

    @property
    def ready_local_endpoints(self) -> tuple[EndpointInfo, ...]:
        """What a load balancer's health check counts (semantics 6.16)."""
        return tuple(e for e in self.endpoints if e.ready and e.local)


ServicePortMap = Mapping[str, tuple[ServicePortInfo, ...]]  # `namespace/name` of the Service -> its ports
