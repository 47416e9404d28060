"""Services: which fields go with which type, which ports may exist side by side (semantics 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from netlab.api.lab import Networking
from netlab.api.services import Service, ServicePort, ServiceSpec
from netlab.topology.problem import Problem, Steps, duplicate, forbidden, invalid, required
from netlab.topology.rules.status import service_status_problems
from netlab.topology.syntax import ADDRESS

SPEC = ("spec",)
WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
KUBELET_PORT = 10250


def service_problems(service: Service, networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with a Service; ranges are checked when the lab's networking is given."""
    spec = service.spec
    yield from _type_problems(spec)
    yield from _cluster_ip_problems(spec)
    yield from _ports_problems(spec)
    yield from _affinity_problems(spec)
    for applies, problem in _ONLY_WITH:
        if applies(spec):
            yield problem(spec)
    if networking:
        yield from _range_problems(spec, networking)
    yield from service_status_problems(service)


def is_external(spec: ServiceSpec) -> bool:
    """Return whether externalTrafficPolicy means something for this Service (semantics 4.21)."""
    return spec.type in WITH_NODE_PORTS or (spec.type == "ClusterIP" and bool(spec.external_ips))


def _type_problems(spec: ServiceSpec) -> Iterator[Problem]:
    if spec.type == "ExternalName":
        if not spec.external_name:
            yield required((*SPEC, "externalName"), "a Service of type ExternalName is an alias for this DNS name")
        if spec.cluster_ip:
            yield forbidden((*SPEC, "clusterIP"), "may not be set for ExternalName services")
    elif not spec.ports and spec.cluster_ip != "None":
        yield required((*SPEC, "ports"))
    if spec.type in WITH_NODE_PORTS and spec.cluster_ip == "None":
        yield invalid((*SPEC, "clusterIP"), "None", f"may not be set to 'None' for {spec.type} services")


def _cluster_ip_problems(spec: ServiceSpec) -> Iterator[Problem]:
    at = (*SPEC, "clusterIP")
    if spec.cluster_ip not in {"", "None"} and (fault := ADDRESS.fault(spec.cluster_ip)):
        yield invalid(at, spec.cluster_ip, f"{fault}, empty or 'None'" if "valid" in fault else fault)
    if len(spec.cluster_ips) > 1:
        yield invalid((*SPEC, "clusterIPs"), list(spec.cluster_ips), "may only hold one value: the networks of a lab are IPv4")
    elif spec.cluster_ips and spec.cluster_ip and spec.cluster_ips[0] != spec.cluster_ip:
        yield invalid((*SPEC, "clusterIPs", 0), spec.cluster_ips[0], "first value must match `clusterIP`")
    elif spec.cluster_ips and not spec.cluster_ip:
        yield required(at, "must be set when `clusterIPs` is set")


def _ports_problems(spec: ServiceSpec) -> Iterator[Problem]:
    names: set[str] = set()
    pairs: set[tuple[str, int]] = set()
    node_pairs: set[tuple[str, int]] = set()
    for index, port in enumerate(spec.ports):
        at = (*SPEC, "ports", index)
        if not port.name and len(spec.ports) > 1:
            yield required((*at, "name"), "a Service with more than one port needs a name for each")
        if port.name and port.name in names:
            yield duplicate((*at, "name"), port.name)
        if (port.protocol, port.port) in pairs:
            yield duplicate((*at, "port"), f"{port.port}/{port.protocol}", "a port can be listed once per protocol")
        yield from _node_port_problems(spec, port, at, node_pairs)
        names.add(port.name)
        pairs.add((port.protocol, port.port))
        node_pairs.add((port.protocol, port.node_port))


def _node_port_problems(spec: ServiceSpec, port: ServicePort, at: Steps, seen: set[tuple[str, int]]) -> Iterator[Problem]:
    if spec.type == "LoadBalancer" and port.port == KUBELET_PORT:
        yield invalid((*at, "port"), port.port, "may not expose port 10250 externally since it is used by kubelet")
    if not port.node_port:
        return
    if spec.type == "ClusterIP":
        yield forbidden((*at, "nodePort"), "may not be used when `type` is 'ClusterIP'; use NodePort or LoadBalancer")
    elif (port.protocol, port.node_port) in seen:
        yield duplicate((*at, "nodePort"), port.node_port)


def _affinity_problems(spec: ServiceSpec) -> Iterator[Problem]:
    if spec.session_affinity_config and spec.session_affinity != "ClientIP":
        yield forbidden((*SPEC, "sessionAffinityConfig"), "must not be set when session affinity is None; set it to ClientIP")


def _forbid(name: str, detail: str) -> Callable[[ServiceSpec], Problem]:
    return lambda _spec: forbidden((*SPEC, name), detail)


_LOAD_BALANCER_ONLY = "may only be used when `type` is 'LoadBalancer'"
# A field that means nothing without another: when it is wrong, and the problem.
_ONLY_WITH: tuple[tuple[Callable[[ServiceSpec], bool], Callable[[ServiceSpec], Problem]], ...] = (
    (
        lambda s: bool(s.external_traffic_policy) and not is_external(s),
        lambda s: invalid(
            (*SPEC, "externalTrafficPolicy"), s.external_traffic_policy, "may only be set for externally-accessible services"
        ),
    ),
    (
        lambda s: bool(s.health_check_node_port) and (s.type != "LoadBalancer" or s.external_traffic_policy != "Local"),
        lambda s: invalid(
            (*SPEC, "healthCheckNodePort"),
            s.health_check_node_port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
    ),
    (
        lambda s: any(p.protocol == "TCP" and p.node_port == s.health_check_node_port != 0 for p in s.ports),
        lambda s: invalid((*SPEC, "healthCheckNodePort"), s.health_check_node_port, "is a nodePort of the same Service"),
    ),
    (
        lambda s: bool(s.load_balancer_source_ranges) and s.type != "LoadBalancer",
        _forbid("loadBalancerSourceRanges", _LOAD_BALANCER_ONLY),
    ),
    (lambda s: bool(s.load_balancer_class) and s.type != "LoadBalancer", _forbid("loadBalancerClass", _LOAD_BALANCER_ONLY)),
    (
        lambda s: s.allocate_load_balancer_node_ports is not None and s.type != "LoadBalancer",
        _forbid("allocateLoadBalancerNodePorts", _LOAD_BALANCER_ONLY),
    ),
)


def _range_problems(spec: ServiceSpec, networking: Networking) -> Iterator[Problem]:
    low, high = (int(part) for part in networking.node_port_range.split("-"))
    valid = f"the range of valid ports is {networking.node_port_range}"
    for index, port in enumerate(spec.ports):
        if port.node_port and not low <= port.node_port <= high:
            yield invalid(
                (*SPEC, "ports", index, "nodePort"), port.node_port, f"provided port is not in the valid range; {valid}"
            )
    if spec.health_check_node_port and not low <= spec.health_check_node_port <= high:
        yield invalid(
            (*SPEC, "healthCheckNodePort"), spec.health_check_node_port, f"provided port is not in the valid range; {valid}"
        )
    network = IPv4Network(networking.service_subnet, strict=False)
    if (address := _ipv4(spec.cluster_ip)) and (address not in network or address in (network[0], network[-1])):
        yield invalid(
            (*SPEC, "clusterIP"),
            spec.cluster_ip,
            f"the provided IP is not in the valid range; the range of valid IPs is {network}",
        )
    for index, text in enumerate(spec.external_ips):
        if (external := _ipv4(text)) and external in network:
            yield invalid((*SPEC, "externalIPs", index), text, f"an external IP must not be in the Service network {network}")


def _ipv4(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except AddressValueError:
        return None
