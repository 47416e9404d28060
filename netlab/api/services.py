"""core/v1: Service and Endpoints."""

from __future__ import annotations

from netlab.api.meta import Condition, Labels, Object, ObjectReference, Struct


class ServicePort(Struct, frozen=True, kw_only=True):
    port: int = 0
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    node_port: int = 0
    app_protocol: str = ""


class ClientIPConfig(Struct, frozen=True, kw_only=True):
    timeout_seconds: int = 10800


class SessionAffinityConfig(Struct, frozen=True, kw_only=True):
    client_ip: ClientIPConfig | None = None


class ServiceSpec(Struct, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    selector: Labels = {}
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    external_name: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    publish_not_ready_addresses: bool = False
    health_check_node_port: int = 0
    load_balancer_ip: str = ""
    load_balancer_class: str = ""
    load_balancer_source_ranges: tuple[str, ...] = ()
    allocate_load_balancer_node_ports: bool | None = None  # of a LoadBalancer; unset means true
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""
    traffic_distribution: str = ""


class PortStatus(Struct, frozen=True, kw_only=True):
    port: int = 0
    protocol: str = ""
    error: str = ""


class LoadBalancerIngress(Struct, frozen=True, kw_only=True):
    ip: str = ""
    hostname: str = ""
    ip_mode: str = ""
    ports: tuple[PortStatus, ...] = ()


class LoadBalancerStatus(Struct, frozen=True, kw_only=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Struct, frozen=True, kw_only=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] = ()


class Service(Object, frozen=True, kw_only=True):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def headless(self) -> bool:
        """It has no virtual IP on purpose: DNS answers with the endpoints."""
        return self.spec.cluster_ip == "None"

    @property
    def affinity_timeout(self) -> int:
        """Seconds a client sticks to an endpoint, 0 without session affinity (semantics 4.18)."""
        if self.spec.session_affinity != "ClientIP":
            return 0
        config = self.spec.session_affinity_config
        return config.client_ip.timeout_seconds if config and config.client_ip else 10800


class EndpointAddress(Struct, frozen=True, kw_only=True):
    ip: str = ""
    hostname: str = ""
    node_name: str = ""
    target_ref: ObjectReference | None = None


class EndpointsPort(Struct, frozen=True, kw_only=True):
    port: int = 0
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str = ""


class EndpointSubset(Struct, frozen=True, kw_only=True):
    addresses: tuple[EndpointAddress, ...] = ()
    not_ready_addresses: tuple[EndpointAddress, ...] = ()
    ports: tuple[EndpointsPort, ...] = ()


class Endpoints(Object, frozen=True, kw_only=True):
    subsets: tuple[EndpointSubset, ...] = ()
