"""core/v1: Namespace, Node, Pod, Service, Endpoints, ConfigMap, Secret. Events stand in `netlab.api.events`."""

from __future__ import annotations

from netlab.api.meta import Condition, Inert, Labels, Object, ObjectReference, Struct


# ---- Namespace, ConfigMap, Secret
class NamespaceSpec(Struct, frozen=True, kw_only=True):
    finalizers: tuple[str, ...] = ()


class NamespaceStatus(Struct, frozen=True, kw_only=True):
    phase: str = ""


class Namespace(Object, frozen=True, kw_only=True):
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class ConfigMap(Object, frozen=True, kw_only=True):
    data: Labels = {}
    binary_data: Labels = {}
    immutable: bool = False


class Secret(Object, frozen=True, kw_only=True):
    data: Labels = {}
    string_data: Labels = {}
    type: str = "Opaque"
    immutable: bool = False


# ---- Node
class NodeSpec(Struct, frozen=True, kw_only=True):
    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] = ()
    unschedulable: bool = False
    provider_id: str = ""
    taints: Inert = None


class NodeAddress(Struct, frozen=True, kw_only=True):
    type: str = ""
    address: str = ""


class NodeStatus(Struct, frozen=True, kw_only=True):
    addresses: tuple[NodeAddress, ...] = ()
    conditions: tuple[Condition, ...] = ()
    node_info: Inert = None
    capacity: Inert = None
    allocatable: Inert = None
    daemon_endpoints: Inert = None
    images: Inert = None


class Node(Object, frozen=True, kw_only=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def internal_ip(self) -> str:
        """The node's address on the underlay, empty while it has none."""
        return next((a.address for a in self.status.addresses if a.type == "InternalIP"), "")


# ---- Pod
class ContainerPort(Struct, frozen=True, kw_only=True):
    container_port: int = 0
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = ""


class KeySelector(Struct, frozen=True, kw_only=True):
    name: str = ""
    key: str = ""
    optional: bool = False


class ObjectFieldSelector(Struct, frozen=True, kw_only=True):
    field_path: str = ""
    api_version: str = ""


class EnvVarSource(Struct, frozen=True, kw_only=True):
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: Inert = None


class EnvVar(Struct, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class EnvFromReference(Struct, frozen=True, kw_only=True):
    name: str = ""
    optional: bool = False


class EnvFromSource(Struct, frozen=True, kw_only=True):
    prefix: str = ""
    config_map_ref: EnvFromReference | None = None
    secret_ref: EnvFromReference | None = None


class HTTPHeader(Struct, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class HTTPGetAction(Struct, frozen=True, kw_only=True):
    path: str = "/"
    port: int | str = 0
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(Struct, frozen=True, kw_only=True):
    port: int | str = 0
    host: str = ""


class ExecAction(Struct, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class Probe(Struct, frozen=True, kw_only=True):
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: Inert = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: Inert = None


class Capabilities(Struct, frozen=True, kw_only=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SecurityContext(Struct, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    privileged: bool | None = None
    capabilities: Capabilities | None = None
    seccomp_profile: Inert = None
    se_linux_options: Inert = None
    app_armor_profile: Inert = None
    proc_mount: Inert = None
    windows_options: Inert = None


class PodSecurityContext(Struct, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: Inert = None
    fs_group_change_policy: Inert = None
    supplemental_groups: Inert = None
    supplemental_groups_policy: Inert = None
    sysctls: Inert = None
    seccomp_profile: Inert = None
    se_linux_options: Inert = None
    se_linux_change_policy: Inert = None
    app_armor_profile: Inert = None
    windows_options: Inert = None


class Container(Struct, frozen=True, kw_only=True):
    name: str = ""
    image: str = ""
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Inert = None
    startup_probe: Inert = None
    lifecycle: Inert = None
    resources: Inert = None
    security_context: SecurityContext | None = None
    stdin: Inert = None
    stdin_once: Inert = None
    tty: Inert = None
    termination_message_path: Inert = None
    termination_message_policy: Inert = None
    volume_mounts: Inert = None
    volume_devices: Inert = None
    resize_policy: Inert = None


class PodDNSConfigOption(Struct, frozen=True, kw_only=True):
    name: str = ""
    value: str = ""


class PodDNSConfig(Struct, frozen=True, kw_only=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSConfigOption, ...] = ()


class HostAlias(Struct, frozen=True, kw_only=True):
    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PodSpec(Struct, frozen=True, kw_only=True):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    node_name: str = ""
    node_selector: Labels = {}
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = False
    dns_policy: str = "ClusterFirst"
    dns_config: PodDNSConfig | None = None
    host_aliases: tuple[HostAlias, ...] = ()
    enable_service_links: bool = True
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: Inert = None
    affinity: Inert = None
    automount_service_account_token: Inert = None
    host_pid: Inert = None
    host_ipc: Inert = None
    image_pull_secrets: Inert = None
    preemption_policy: Inert = None
    priority: Inert = None
    priority_class_name: Inert = None
    readiness_gates: Inert = None
    runtime_class_name: Inert = None
    scheduler_name: Inert = None
    security_context: PodSecurityContext | None = None
    service_account: Inert = None
    service_account_name: Inert = None
    share_process_namespace: Inert = None
    tolerations: Inert = None
    topology_spread_constraints: Inert = None
    volumes: Inert = None
    host_users: Inert = None
    os: Inert = None
    overhead: Inert = None
    resources: Inert = None


class PodIP(Struct, frozen=True, kw_only=True):
    ip: str = ""


class ContainerStatus(Struct, frozen=True, kw_only=True):
    name: str = ""
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    image: str = ""
    image_id: str = ""
    container_id: str = ""
    state: dict[str, dict[str, str | int]] = {}
    last_state: dict[str, dict[str, str | int]] = {}


class PodStatus(Struct, frozen=True, kw_only=True):
    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    host_ip: str = ""
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] = ()
    start_time: str | None = None
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    message: str = ""
    reason: str = ""
    qos_class: str = ""


class Pod(Object, frozen=True, kw_only=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        """The Ready condition, whether or not the pod is terminating."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def terminating(self) -> bool:
        """Deletion has been asked for."""
        return self.metadata.deletion_timestamp is not None


class PodTemplateMeta(Struct, frozen=True, kw_only=True):
    name: str = ""
    labels: Labels = {}
    annotations: Labels = {}
    creation_timestamp: str | None = None
    namespace: Inert = None
    generate_name: Inert = None
    finalizers: Inert = None


class PodTemplateSpec(Struct, frozen=True, kw_only=True):
    metadata: PodTemplateMeta = PodTemplateMeta()
    spec: PodSpec = PodSpec()


# ---- Service
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
    allocate_load_balancer_node_ports: bool = True
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


# ---- Endpoints
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
