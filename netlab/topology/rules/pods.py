"""Pods and pod templates: containers, ports, environment, probes, DNS."""

from __future__ import annotations

import re
from collections.abc import Iterator

from netlab.api.lab import Networking
from netlab.api.pods import Container, EnvVar, EnvVarSource, Pod, PodSpec, Probe, ResourceRequirements
from netlab.topology.problem import Problem, Steps, duplicate, forbidden, invalid, required, unsupported
from netlab.topology.rules.status import pod_status_problems

# What an environment variable's fieldRef may name (the downward API).
FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_KEYED_FIELD_PATH = re.compile(r"metadata\.(labels|annotations)\['[^']+'\]")
RESOURCES = tuple(f"{kind}.{what}" for kind in ("limits", "requests") for what in ("cpu", "ephemeral-storage", "memory"))
_RESOURCE = re.compile(r"(limits|requests)\.(cpu|ephemeral-storage|memory|hugepages-[0-9A-Za-z]{1,20})")
MOST_NAMESERVERS = 3  # semantics 11.22
MOST_SEARCHES = 32
LONGEST_SEARCH = 2048
HostPort = tuple[str, str, int]  # protocol, address of the node, number


def pod_problems(pod: Pod, _networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with a Pod."""
    yield from pod_spec_problems(pod.spec, ("spec",))
    yield from pod_status_problems(pod.status)


def pod_spec_problems(spec: PodSpec, at: Steps) -> Iterator[Problem]:
    """Yield what is wrong with the pod described at `at`."""
    names: set[str] = set()
    together: set[HostPort] = set()
    for field, containers in (("containers", spec.containers), ("initContainers", spec.init_containers)):
        for index, container in enumerate(containers):
            here = (*at, field, index)
            if container.name in names:
                yield duplicate((*here, "name"), container.name)
            names.add(container.name)
            taken = together if field == "containers" else set()  # init containers run one after the other
            yield from _port_problems(container, here, host_network=spec.host_network, taken=taken)
            yield from _environment_problems(container, here)
            yield from _resource_problems(container, here)
            if container.readiness_probe:
                yield from _probe_problems(container.readiness_probe, (*here, "readinessProbe"))
    yield from _dns_problems(spec, at)


def _port_problems(container: Container, at: Steps, *, host_network: bool, taken: set[HostPort]) -> Iterator[Problem]:
    """Yield what is wrong with a container's ports; `taken` gets the node's ports that it has."""
    names: set[str] = set()
    for index, port in enumerate(container.ports):
        here = (*at, "ports", index)
        if port.name and port.name in names:
            yield duplicate((*here, "name"), port.name)
        names.add(port.name)
        if host_network and port.host_port not in {0, port.container_port}:
            yield invalid((*here, "hostPort"), port.host_port, "must match `containerPort` when `hostNetwork` is true")
        number = port.host_port or (port.container_port if host_network else 0)  # Kubernetes' default, not yet applied to a file
        if not number:
            continue
        key = (port.protocol, port.host_ip, number)
        if key in taken:
            field, why = ("hostPort", "") if port.host_port else ("containerPort", "with `hostNetwork` it is a port of the node")
            yield duplicate((*here, field), f"{number}/{port.protocol}", why)
        taken.add(key)


def _environment_problems(container: Container, at: Steps) -> Iterator[Problem]:
    for index, variable in enumerate(container.env):
        yield from _variable_problems(variable, (*at, "env", index))
    for index, source in enumerate(container.env_from):
        here = (*at, "envFrom", index)
        if source.config_map_ref and source.secret_ref:
            yield invalid(here, "", "may not have more than one of configMapRef and secretRef")
        elif not source.config_map_ref and not source.secret_ref:
            yield required(here, "must specify one of: `configMapRef` or `secretRef`")


def _variable_problems(variable: EnvVar, at: Steps) -> Iterator[Problem]:
    source = variable.value_from
    if source is None:
        return
    here = (*at, "valueFrom")
    given = _sources(source)
    if variable.value:
        yield invalid(here, "", "may not be specified when `value` is not empty")
    if not given:
        yield required(here, "must specify one of: `fieldRef`, `configMapKeyRef` or `secretKeyRef`")
    elif len(given) > 1:
        yield invalid(here, "", f"may not have more than one of {', '.join(given)}")
    if source.field_ref and source.field_ref.field_path:
        path = source.field_ref.field_path
        if path not in FIELD_PATHS and not _KEYED_FIELD_PATH.fullmatch(path):
            yield unsupported((*here, "fieldRef", "fieldPath"), path, FIELD_PATHS)


def _resource_problems(container: Container, at: Steps) -> Iterator[Problem]:
    resources = container.resources or ResourceRequirements()
    for field, amounts in (("limits", resources.limits), ("requests", resources.requests)):
        for name, amount in amounts.items():
            if str(amount).startswith("-"):
                yield invalid((*at, "resources", field, name), amount, "must be greater than or equal to 0")
    for index, variable in enumerate(container.env):
        reference = variable.value_from.resource_field_ref if variable.value_from else None
        if reference and reference.resource and not _RESOURCE.fullmatch(reference.resource):
            here = (*at, "env", index, "valueFrom", "resourceFieldRef", "resource")
            yield unsupported(here, reference.resource, RESOURCES)


def _sources(source: EnvVarSource) -> tuple[str, ...]:
    named = (
        ("configMapKeyRef", source.config_map_key_ref),
        ("secretKeyRef", source.secret_key_ref),
        ("fieldRef", source.field_ref),
        ("resourceFieldRef", source.resource_field_ref),
    )
    return tuple(name for name, given in named if given)


def _probe_problems(probe: Probe, at: Steps) -> Iterator[Problem]:
    handlers = (("exec", probe.exec), ("httpGet", probe.http_get), ("tcpSocket", probe.tcp_socket), ("grpc", probe.grpc))
    given = tuple(name for name, handler in handlers if handler is not None)
    if not given:
        yield required(at, "must specify a handler type: httpGet, tcpSocket or exec")
    for extra in given[1:]:
        yield forbidden((*at, extra), "may not specify more than 1 handler type")
    if given[:1] == ("grpc",):
        yield forbidden((*at, "grpc"), "not supported yet; use httpGet, tcpSocket or exec")


def _dns_problems(spec: PodSpec, at: Steps) -> Iterator[Problem]:
    config = spec.dns_config
    here = (*at, "dnsConfig")
    if spec.dns_policy == "None" and not (config and config.nameservers):
        yield required((*here, "nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")
    if config is None:
        return
    if len(config.nameservers) > MOST_NAMESERVERS:
        yield invalid((*here, "nameservers"), len(config.nameservers), f"must not have more than {MOST_NAMESERVERS} nameservers")
    if len(config.searches) > MOST_SEARCHES:
        yield invalid((*here, "searches"), len(config.searches), f"must not have more than {MOST_SEARCHES} search paths")
    if (length := len(" ".join(config.searches))) > LONGEST_SEARCH:
        yield invalid((*here, "searches"), length, f"must not have more than {LONGEST_SEARCH} characters in all")
