"""`netlab port-forward`: from arguments to one pod and its ports, as kubectl parses them. Pure.

1. The target is `pod/NAME`, `svc/NAME`, `deploy/NAME`, `rs/NAME`, `ds/NAME` (or another of
   kubectl's names of the type), or a pod as `netlab exec` accepts it: `[NAMESPACE/]NAME` or the
   beginning of it.
2. A port is `80` (the same local port), `8080:80`, or `:80` and `0:80` (any free local port). The
   remote port may be a name.
3. A Service does not balance load here: one ready endpoint is chosen when the forwarding starts,
   and stays. The Service's port is translated to the target port of that pod; the port of a
   headless Service is not, because its clients connect to the pods themselves.
4. A workload means a running pod of its selector, preferably a ready one.
5. Only TCP is forwarded.

Among equal pods the first by name is chosen, so the same command means the same pod.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from netlab.api.apps import DaemonSet, Deployment, ReplicaSet
from netlab.api.discovery import EndpointSlice
from netlab.api.pods import ContainerPort, Pod
from netlab.api.resources import DAEMON_SETS, DEPLOYMENTS, PODS, REPLICA_SETS, SERVICES, Resource
from netlab.api.selection import selects
from netlab.api.services import Service, ServicePort
from netlab.api.wellknown import DEFAULT_NAMESPACE
from netlab.errors import LabError, UsageError
from netlab.lab.pods import pods_meant
from netlab.topology.problem import printable

Port = TypeVar("Port", ServicePort, ContainerPort)
Workload = Deployment | ReplicaSet | DaemonSet
Named = TypeVar("Named", bound=Service | Workload)

FORWARDABLE: tuple[Resource[Any], ...] = (PODS, SERVICES, DEPLOYMENTS, REPLICA_SETS, DAEMON_SETS)
WORDS = {
    word: resource
    for resource in FORWARDABLE
    for kind in (resource.kind.lower(), resource.plural)
    for word in (kind, *([f"{kind}.{resource.group}"] if resource.group else []), *resource.short_names)
}
PORT_NAME = re.compile(r"(?=[^a-z]*[a-z])[a-z0-9-]{1,15}")  # an IANA service name, as Kubernetes has it
HIGHEST_PORT = 65535
NOT_RUNNING = {"Pending": "`netlab status` shows what it waits for."}  # if a pod has ended, its log shows the cause
LOCALHOST = "127.0.0.1"
TYPES = "svc/NAME, deploy/NAME, rs/NAME or ds/NAME"


@dataclass(frozen=True)
class Target:
    """What to forward to; it may not exist. The namespace is empty if not given."""

    resource: Resource[Any]
    namespace: str
    name: str


@dataclass(frozen=True)
class PortRequest:
    """A requested pair of ports.

    `local` is None for the same as the remote one, 0 for any free one.
    """

    local: int | None
    remote: int | str


@dataclass(frozen=True)
class PortPair:
    """A resolved pair of ports: the one on this machine (0: any), and the one inside the pod."""

    local: int
    remote: int


@dataclass(frozen=True)
class Cluster:
    """The objects that decide: pods; objects of the target's kind; EndpointSlices."""

    pods: Sequence[Pod]
    services: Sequence[Service] = ()
    workloads: Sequence[Workload] = ()
    slices: Sequence[EndpointSlice] = ()


@dataclass(frozen=True)
class Plan:
    """One pod, and which local ports lead to which of its ports."""

    pod: Pod
    ports: tuple[PortPair, ...]


# ---- words
def parse_target(text: str, namespace: str = "") -> Target:
    """Read `TYPE/NAME` or `[NAMESPACE/]NAME`; `namespace` is the value of --namespace."""
    first, slash, name = text.rpartition("/")
    resource = WORDS.get(first.lower()) if slash else PODS
    if not name or "/" in first or (slash and not first):
        raise UsageError(
            f"invalid target '{printable(text)}'",
            remedy="Use svc/NAME, deploy/NAME, pod/NAME or [NAMESPACE/]POD.",
        )
    if resource is not None:
        return Target(resource, namespace, name)
    if namespace and namespace != first:
        known = ", ".join(sorted(WORDS))
        raise UsageError(
            f"'{printable(first)}' is neither a type nor the namespace '{printable(namespace)}'", remedy=f"Types: {known}."
        )
    return Target(PODS, first, name)


def parse_port(text: str) -> PortRequest:
    """Read `[LOCAL:]REMOTE`."""
    local, colon, remote = text.rpartition(":")
    if not remote or (local and not _is_port(local, lowest=0)) or not (_is_port(remote, lowest=1) or PORT_NAME.fullmatch(remote)):
        raise UsageError(
            f"invalid port mapping '{printable(text)}'; expected [LOCAL:]REMOTE, for example 8080:80",
            remedy="80 uses the same local port; 0:http uses any free local port.",
        )
    return PortRequest(int(local or 0) if colon else None, int(remote) if remote.isdigit() else remote)


def _is_port(text: str, *, lowest: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and lowest <= int(text) <= HIGHEST_PORT


def parse_addresses(words: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses to listen on: loopback only, as for all sockets of labs on the host."""
    names = [name for word in words for name in word.split(",")]
    return tuple(dict.fromkeys(_loopback(name) for name in names)) or (LOCALHOST,)


def _loopback(name: str) -> str:
    try:
        address = ipaddress.ip_address(LOCALHOST if name == "localhost" else name)
    except ValueError as error:
        raise UsageError(
            f"--address '{printable(name)}' is not an IP address", remedy="Use localhost, 127.0.0.1 or ::1."
        ) from error
    if not address.is_loopback:
        raise UsageError(
            f"--address {name} is not a loopback address: netlab listens on loopback only",
            remedy="Omit --address, or use ::1 or an address of 127.0.0.0/8.",
        )
    return str(address)


# ---- choice
def plan(target: Target, requests: Sequence[PortRequest], cluster: Cluster) -> Plan:
    """Return the pod and its ports. Raises UsageError for what does not exist, LabError when nothing is ready."""
    if target.resource is PODS:
        return _plan_pod(_named_pod(target, cluster.pods), requests)
    if target.resource is SERVICES:
        return _plan_service(_named(target, cluster.services), requests, cluster)
    return _plan_pod(_pod_of_workload(target, cluster), requests)


def _plan_pod(pod: Pod, requests: Sequence[PortRequest]) -> Plan:
    if pod.status.phase != "Running":
        phase = pod.status.phase or "Pending"
        remedy = NOT_RUNNING.get(phase, "Show its output: netlab logs {pod}").format(pod=pod.key)
        raise LabError(f"pod {pod.key} is not running (phase {phase})", remedy=remedy)
    numbers = [(request, _pod_port(pod, request.remote)) for request in requests]
    return Plan(pod, tuple(PortPair(number if r.local is None else r.local, number) for r, number in numbers))


def _plan_service(service: Service, requests: Sequence[PortRequest], cluster: Cluster) -> Plan:
    if service.spec.type == "ExternalName":
        remedy = f"It is an alias of {service.spec.external_name}; forward to a pod or to another Service."
        raise UsageError(f"Service {service.key} is an ExternalName and has no pods", remedy=remedy)
    wanted = [(request, _service_port(service, request.remote)) for request in requests]
    ready = _ready_pods(service, cluster)
    if not ready:
        raise LabError(f"no pod behind Service {service.key} is ready", remedy="`netlab status` shows what its pods wait for.")
    chosen = next((key for key in sorted(ready) if all(port.name in ready[key] for _, port in wanted)), None)
    pod = next((pod for pod in cluster.pods if pod.key == chosen), None)
    if chosen is None or pod is None:
        lacking = ", ".join(str(request.remote) for request in requests)
        raise LabError(f"no ready pod behind Service {service.key} has the target port of its port {lacking}")
    numbers = ready[chosen]
    return Plan(
        pod,
        tuple(
            PortPair(port.port if r.local is None else r.local, port.port if service.headless else numbers[port.name])
            for r, port in wanted
        ),
    )


def _ready_pods(service: Service, cluster: Cluster) -> dict[str, dict[str, int]]:
    """Return the ready pods behind a Service, each with its TCP ports by the names of the Service's ports."""
    found: dict[str, dict[str, int]] = {}
    for piece in cluster.slices:
        if piece.service_key != service.key:
            continue
        numbers = {port.name: port.port for port in piece.ports if port.protocol == "TCP" and port.port}
        for endpoint in piece.endpoints:
            pod = endpoint.target_ref
            if endpoint.conditions.is_ready and pod is not None and pod.kind == "Pod":
                found.setdefault(f"{pod.namespace}/{pod.name}", {}).update(numbers)
    return found


def _service_port(service: Service, remote: int | str) -> ServicePort:
    ports = [port for port in service.spec.ports if remote in {port.port, port.name}]
    if not ports:
        raise UsageError(
            f"Service {service.key} has no port {remote}", remedy=_choices((p.port, p.name) for p in service.spec.ports)
        )
    return _only_tcp(ports, f"port {remote} of Service {service.key}")


def _pod_port(pod: Pod, remote: int | str) -> int:
    declared = [port for container in pod.spec.containers for port in container.ports]
    ports = [port for port in declared if remote in {port.container_port, port.name}]
    if ports:
        return _only_tcp(ports, f"port {remote} of pod {pod.key}").container_port
    if isinstance(remote, int):  # a container may listen on a port that it does not declare
        return remote
    raise UsageError(f"pod {pod.key} has no port named {remote!r}", remedy=_choices((p.container_port, p.name) for p in declared))


def _only_tcp(ports: Sequence[Port], what: str) -> Port:
    tcp = [port for port in ports if port.protocol == "TCP"]
    if not tcp:
        raise UsageError(f"{what} is {ports[0].protocol}: only TCP can be forwarded")
    return tcp[0]


def _choices(ports: Iterable[tuple[int, str]]) -> str:
    shown = ", ".join(f"{number} ({name})" if name else str(number) for number, name in ports)
    return f"Ports: {shown or 'none'}."


def _named_pod(target: Target, pods: Sequence[Pod]) -> Pod:
    text = f"{target.namespace}/{target.name}" if target.namespace else target.name
    meant = pods_meant(pods, text) or [p for p in pods if text in {p.key, p.metadata.name}]  # the latter have not started yet
    if len(meant) == 1:
        return meant[0]
    shown = ", ".join(sorted(pod.key for pod in meant or pods)[:12])
    name = f"'{printable(text)}'"
    what = f"{name} matches several pods" if meant else f"no pod named {name} in this lab"
    raise UsageError(what, remedy=f"Pods: {shown or 'none'}. Other targets: {TYPES}.")


def _pod_of_workload(target: Target, cluster: Cluster) -> Pod:
    workload = _named(target, cluster.workloads)
    mine = [
        pod
        for pod in cluster.pods
        if pod.metadata.namespace == workload.metadata.namespace
        and selects(workload.spec.selector, pod.metadata.labels)
        and not pod.terminating
        and pod.status.phase == "Running"
    ]
    if not mine:
        kind = target.resource.kind
        raise LabError(f"no pod of {kind} {workload.key} is running", remedy="`netlab status` shows what its pods wait for.")
    return min(mine, key=lambda pod: (not pod.ready, pod.metadata.name))


def _named(target: Target, objects: Sequence[Named]) -> Named:
    key = f"{target.namespace or DEFAULT_NAMESPACE}/{target.name}"
    for candidate in objects:
        if candidate.key == key:
            return candidate
    known = ", ".join(sorted(candidate.key for candidate in objects)[:12])
    raise UsageError(
        f"there is no {target.resource.kind} {printable(key)}", remedy=f"{target.resource.kind}s: {known or 'none'}."
    )
