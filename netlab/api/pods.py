"""core/v1: Pod, and the template that controllers make pods from."""

from __future__ import annotations

from typing import Annotated

from netlab.api.meta import INERT, Condition, Inert, Labels, Object, Quantity, Struct


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


class ResourceFieldSelector(Struct, frozen=True, kw_only=True):
    """A resource of a container as an environment variable: `limits.cpu`."""

    resource: str = ""
    container_name: str = ""
    divisor: Quantity = ""


class EnvVarSource(Struct, frozen=True, kw_only=True):
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: Annotated[ResourceFieldSelector | None, INERT] = None


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


class ResourceRequirements(Struct, frozen=True, kw_only=True):
    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}
    claims: Inert = None


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
    resources: Annotated[ResourceRequirements | None, INERT] = None
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
    service_account: Annotated[str, INERT] = ""
    service_account_name: Annotated[str, INERT] = ""
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
    def finished(self) -> bool:
        """All containers have ended and none is started again."""
        return self.status.phase in {"Succeeded", "Failed"}

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
