"""Services: their defaults, and what an update keeps, drops and may not change (semantics 4).

The order of an update is Kubernetes' own (pkg/registry/core/service: patchAllocatedValues,
dropTypeDependentFields):
1. a write that leaves out what was allocated keeps it, if the new type needs it;
2. a write that changes the type and repeats the old value drops it, unless the new type needs it;
3. `netlab.controlplane.services` allocates what is then missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from netlab.api.resources import SERVICES, Json
from netlab.controlplane.kinds.filling import fill, maps_in
from netlab.controlplane.kinds.kind import Kind, Strategy
from netlab.controlplane.status import FieldProblem

AFFINITY_SECONDS: Final = 10800  # three hours (semantics 4.18)
WITH_CLUSTER_IP: Final = frozenset({"ClusterIP", "NodePort", "LoadBalancer"})
WITH_NODE_PORTS: Final = frozenset({"NodePort", "LoadBalancer"})


# ---- what a Service has
def ports_of(spec: Json) -> list[Json]:
    """Return the ports of a Service."""
    return maps_in(spec, "ports")


def needs_cluster_ip(spec: Json) -> bool:
    """Return True if the type has a cluster address (ExternalName has none)."""
    return spec.get("type", "ClusterIP") in WITH_CLUSTER_IP


def _may_have_node_ports(spec: Json) -> bool:
    """Return True if ports may have node ports.

    A LoadBalancer keeps those it has, whatever it specifies for new ones (semantics 4.10).
    """
    return spec.get("type") in WITH_NODE_PORTS


def allocates_node_ports(spec: Json) -> bool:
    """Return True if ports without a node port get one (semantics 4.10)."""
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts", True) is True
    return spec.get("type") == "NodePort"


def needs_health_check_port(spec: Json) -> bool:
    """Return True if there is a healthCheckNodePort (semantics 4.20)."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _node_ports(spec: Json) -> set[int]:
    return {port["nodePort"] for port in ports_of(spec) if port.get("nodePort")}


def _is_reachable_from_outside(spec: Json) -> bool:
    """Return True if traffic from outside the cluster can arrive, so that it has a policy."""
    has_external_ips = spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs"))
    return spec.get("type") in WITH_NODE_PORTS or has_external_ips


# ---- defaults
def _defaults(body: Json) -> None:
    spec = body.setdefault("spec", {})
    fill(spec, {"type": "ClusterIP", "sessionAffinity": "None"})
    if spec["sessionAffinity"] == "ClientIP":
        client_ip = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client_ip.setdefault("timeoutSeconds", AFFINITY_SECONDS)
    for port in ports_of(spec):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in {None, 0, ""} and "port" in port:
            port["targetPort"] = port["port"]  # semantics 4.7
    if spec["type"] in WITH_CLUSTER_IP:
        fill(spec, {"internalTrafficPolicy": "Cluster"})
        fill(spec, {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
    if _is_reachable_from_outside(spec):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    body.setdefault("status", {}).setdefault("loadBalancer", {})


# ---- from the old object to the new
def _carry_over(new: Json, old: Json) -> None:
    """Keep what was allocated before and is not mentioned now.

    A port is identified by its name; a change of its other fields keeps its node port.
    """
    if needs_cluster_ip(old) and needs_cluster_ip(new):
        if not new.get("clusterIP"):
            new["clusterIP"] = old.get("clusterIP", "")
        if not new.get("clusterIPs") and new.get("clusterIP") == old.get("clusterIP"):
            new["clusterIPs"] = list(old.get("clusterIPs", ()))
    if _may_have_node_ports(old) and _may_have_node_ports(new):
        used = _node_ports(old) & _node_ports(new)
        before = {port.get("name", ""): port.get("nodePort") for port in ports_of(old)}
        for port in ports_of(new):
            number = before.get(port.get("name", ""))
            if number and not port.get("nodePort") and number not in used:
                port["nodePort"] = number
    if needs_health_check_port(old) and needs_health_check_port(new):
        number = new.get("healthCheckNodePort") or old.get("healthCheckNodePort", 0)
        new["healthCheckNodePort"] = number


def _drop_same(new: Json, old: Json, names: Iterable[str]) -> None:
    for name in names:
        if name in new and new[name] == old.get(name):
            del new[name]


def _drop_type_dependent(new: Json, old: Json) -> None:
    """Release what the new type does not use, unless this write changes it (semantics 4.9)."""
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        _drop_same(new, old, ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"))
        _drop_same(new, old, ("internalTrafficPolicy",))
    if _may_have_node_ports(old) and not _may_have_node_ports(new):
        has_new_node_port = not _node_ports(old) >= _node_ports(new)  # refused later
        for port in () if has_new_node_port else ports_of(new):
            port.pop("nodePort", None)
    if needs_health_check_port(old) and not needs_health_check_port(new):
        _drop_same(new, old, ("healthCheckNodePort",))
    if old.get("type") == "LoadBalancer" and new.get("type") != "LoadBalancer":
        _drop_same(new, old, ("allocateLoadBalancerNodePorts", "loadBalancerClass"))
    if _is_reachable_from_outside(old) and not _is_reachable_from_outside(new):
        _drop_same(new, old, ("externalTrafficPolicy",))


def _match_cluster_ips(new: Json, old: Json | None = None) -> None:
    """Make clusterIP and clusterIPs agree: the one that changed decides, as clients may set one."""
    single, several = new.get("clusterIP", ""), new.get("clusterIPs") or []
    if old is not None:
        is_same = single == old.get("clusterIP", "")
        are_same = several == (old.get("clusterIPs") or [])
        if are_same and not is_same:
            several = [single] if single else []
        elif is_same and several and not are_same:
            single = several[0]
    single = single or (several[0] if several else "")
    several = several or ([single] if single else [])
    for name, value in (("clusterIP", single), ("clusterIPs", several)):
        if value:
            new[name] = value
        else:
            new.pop(name, None)


# ---- what may not change
def _address_problems(new: Json, old: Json) -> list[FieldProblem]:
    """Refuse another cluster address, except to and from ExternalName (semantics 4.1)."""
    address, before = new.get("clusterIP", ""), old.get("clusterIP")
    if not (needs_cluster_ip(old) and needs_cluster_ip(new)) or not before or address == before:
        return []
    value = json.dumps(new.get("clusterIPs") or [address], separators=(",", ":"))
    text = f"Invalid value: {value}: may not change once set"
    return [FieldProblem("spec.clusterIPs[0]", text)]


def _health_check_port_problems(new: Json, old: Json) -> list[FieldProblem]:
    number, before = new.get("healthCheckNodePort", 0), old.get("healthCheckNodePort", 0)
    if not (needs_health_check_port(old) and needs_health_check_port(new)) or number == before:
        return []
    text = f"Invalid value: {number}: field is immutable"
    return [FieldProblem("spec.healthCheckNodePort", text)]


def _class_problems(new: Json, old: Json) -> list[FieldProblem]:
    before, after = old.get("loadBalancerClass"), new.get("loadBalancerClass")
    if not (old.get("type") == new.get("type") == "LoadBalancer") or before == after:
        return []
    text = f"Invalid value: {json.dumps(after)}: may not change once set"
    return [FieldProblem("spec.loadBalancerClass", text)]


# ---- the strategy
def _prepare_create(body: Json) -> None:
    _match_cluster_ips(body.setdefault("spec", {}))


def _prepare_update(new: Json, old: Json) -> None:
    before, after = old.get("spec", {}), new.setdefault("spec", {})
    _carry_over(after, before)
    _drop_type_dependent(after, before)
    _match_cluster_ips(after, before)
    if after.get("type") != "LoadBalancer" and new.get("status", {}).get("loadBalancer"):
        new["status"] = {**new["status"], "loadBalancer": {}}


def _change_problems(new: Json, old: Json) -> list[FieldProblem]:
    after, before = new.get("spec", {}), old.get("spec", {})
    checks = (_address_problems, _health_check_port_problems, _class_problems)
    return [problem for check in checks for problem in check(after, before)]


KIND: Final = Kind(
    SERVICES,
    Strategy(
        status_has_metadata=True,
        creates_on_update=True,
        prepare_create=_prepare_create,
        prepare_update=_prepare_update,
        change_problems=_change_problems,
    ),
    defaults=_defaults,
    selectable=("spec.clusterIP", "spec.type"),
    categories=("all",),
    returns_deleted=True,
)
