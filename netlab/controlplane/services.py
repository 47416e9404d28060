"""Services on write: addresses and node ports are carried over, dropped, checked and allocated (semantics 4).

The order is Kubernetes' own (pkg/registry/core/service: patchAllocatedValues, dropTypeDependentFields, alloc):
1. a write that leaves out what was allocated keeps it, if the new type still needs it;
2. a write that changes the type and repeats the old value drops it, if the new type no longer needs it;
3. what is then still missing is allocated; what was asked for must be free.
All functions edit the new body, which the write path owns, and return problems; nothing is held before the commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from netlab.api.resources import Json
from netlab.api.wellknown import KUBE_DNS, KUBERNETES
from netlab.controlplane.allocation import Band, Claims, Holdings, PortKey, address_band, address_text, node_port_band
from netlab.controlplane.defaults import WITH_CLUSTER_IP, externally_accessible
from netlab.controlplane.status import FieldProblem


# ---- what a Service needs
def needs_cluster_ip(spec: Json) -> bool:
    """Tell whether the type has a cluster address (ExternalName has none)."""
    return spec.get("type", "ClusterIP") in WITH_CLUSTER_IP


def may_have_node_ports(spec: Json) -> bool:
    """Tell whether ports may have node ports: a LoadBalancer keeps those it has, whatever it says of new ones (4.10)."""
    return spec.get("type") in {"NodePort", "LoadBalancer"}


def allocates_node_ports(spec: Json) -> bool:
    """Tell whether ports without a node port get one (semantics 4.10)."""
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True) is True)


def needs_health_check_port(spec: Json) -> bool:
    """Tell whether a healthCheckNodePort exists (semantics 4.20)."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _ports(spec: Json) -> list[Json]:
    ports = spec.get("ports")
    return [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []


def _node_ports(spec: Json) -> set[int]:
    return {port["nodePort"] for port in _ports(spec) if port.get("nodePort")}


# ---- 1. and 2.: from the old object to the new
def carry_over(new: Json, old: Json) -> None:
    """Keep what was allocated before and is not mentioned now.

    A port is known by its name: what else of it was edited does not change its node port.
    """
    if needs_cluster_ip(old) and needs_cluster_ip(new):
        if not new.get("clusterIP"):
            new["clusterIP"] = old.get("clusterIP", "")
        if not new.get("clusterIPs") and new.get("clusterIP") == old.get("clusterIP"):
            new["clusterIPs"] = list(old.get("clusterIPs", ()))
    if may_have_node_ports(old) and may_have_node_ports(new):
        used = _node_ports(old) & _node_ports(new)
        before = {port.get("name", ""): port.get("nodePort") for port in _ports(old)}
        for port in _ports(new):
            number = before.get(port.get("name", ""))
            if number and not port.get("nodePort") and number not in used:
                port["nodePort"] = number
    if needs_health_check_port(old) and needs_health_check_port(new) and not new.get("healthCheckNodePort"):
        new["healthCheckNodePort"] = old.get("healthCheckNodePort", 0)


def _drop_same(new: Json, old: Json, names: Iterable[str]) -> None:
    for name in names:
        if name in new and new[name] == old.get(name):
            del new[name]


def drop_type_dependent(new: Json, old: Json) -> None:
    """Release what the new type has no use for, unless the user just set it to something else (semantics 4.9)."""
    if needs_cluster_ip(old) and not needs_cluster_ip(new):
        _drop_same(new, old, ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"))
    if may_have_node_ports(old) and not may_have_node_ports(new) and _node_ports(old) >= _node_ports(new):
        for port in _ports(new):  # ports may be added, removed and moved: only a node port that is new is an error
            port.pop("nodePort", None)
    if needs_health_check_port(old) and not needs_health_check_port(new):
        _drop_same(new, old, ("healthCheckNodePort",))
    if old.get("type") == "LoadBalancer" and new.get("type") != "LoadBalancer":
        _drop_same(new, old, ("allocateLoadBalancerNodePorts", "loadBalancerClass"))
    if externally_accessible(old) and not externally_accessible(new):
        _drop_same(new, old, ("externalTrafficPolicy",))


def match_cluster_ips(new: Json, old: Json | None = None) -> None:
    """Make clusterIP and clusterIPs say the same, following the one that was changed (clients know only one of them)."""
    single, several = new.get("clusterIP", ""), new.get("clusterIPs") or []
    changed = old is not None and single != old.get("clusterIP", "") and several == (old.get("clusterIPs") or [])
    if changed:
        several = [single] if single else []
    elif old is not None and single == old.get("clusterIP", "") and several and several != (old.get("clusterIPs") or []):
        single = several[0]
    single, several = single or (several[0] if several else ""), several or ([single] if single else [])
    for name, value in (("clusterIP", single), ("clusterIPs", several)):
        if value:
            new[name] = value
        else:
            new.pop(name, None)


def immutable_problems(new: Json, old: Json) -> list[FieldProblem]:
    """Return what an update changes that may not change once it is set."""
    return [*_address_changed(new, old), *_health_check_port_changed(new, old), *_class_changed(new, old)]


def _health_check_port_changed(new: Json, old: Json) -> list[FieldProblem]:
    number = new.get("healthCheckNodePort", 0)
    if not (needs_health_check_port(old) and needs_health_check_port(new)) or number == old.get("healthCheckNodePort", 0):
        return []
    return [FieldProblem("spec.healthCheckNodePort", f"Invalid value: {number}: field is immutable")]


def _class_changed(new: Json, old: Json) -> list[FieldProblem]:
    before, after = old.get("loadBalancerClass"), new.get("loadBalancerClass")
    if not (old.get("type") == new.get("type") == "LoadBalancer") or before == after:
        return []
    return [FieldProblem("spec.loadBalancerClass", f"Invalid value: {json.dumps(after)}: may not change once set")]


def _address_changed(new: Json, old: Json) -> list[FieldProblem]:
    """Refuse another cluster address, except to and from ExternalName (semantics 4.1)."""
    if not needs_cluster_ip(old) or not needs_cluster_ip(new) or not old.get("clusterIP"):
        return []
    if new.get("clusterIP", "") == old["clusterIP"]:
        return []
    value = json.dumps(new.get("clusterIPs") or [new.get("clusterIP", "")], separators=(",", ":"))
    return [FieldProblem("spec.clusterIPs[0]", f"Invalid value: {value}: may not change once set")]


# ---- 3.: allocation
@dataclass
class ServiceAllocator:
    """The two ranges and what is held of them. `allocate` only decides; `hold` and `release` follow a commit."""

    subnet: IPv4Network
    node_port_range: str
    holdings: Holdings

    @classmethod
    def of(cls, subnet: str, node_port_range: str) -> ServiceAllocator:
        """Reserve the first address for default/kubernetes and the tenth for kube-system/kube-dns (semantics 4.2)."""
        network = IPv4Network(subnet)
        first = int(network.network_address)
        reserved = {first + 1: KUBERNETES, first + 10: KUBE_DNS}
        return cls(network, node_port_range, Holdings(reserved))

    def __post_init__(self) -> None:
        self.addresses: Band = address_band(self.subnet)
        self.ports: Band = node_port_band(self.node_port_range)

    def allocate(self, key: str, spec: Json) -> list[FieldProblem]:
        """Give a Service what its type needs; returns why what it asked for cannot be had."""
        problems: list[FieldProblem] = []
        if needs_cluster_ip(spec):
            problems += self._allocate_address(key, spec)
        if not problems:
            problems += self._allocate_ports(key, spec)
        return problems

    def _allocate_address(self, key: str, spec: Json) -> list[FieldProblem]:
        wanted = spec.get("clusterIP", "")
        if wanted == "None":  # headless
            spec["clusterIPs"] = ["None"]
            return []
        holdings = self.holdings
        if not wanted:
            number = self.addresses.choose(
                holdings.former.seed(key),
                lambda n: holdings.address_holder(n) in {"", key} and n not in holdings.reserved,
                holdings.former.of(key).last.addresses,
            )
            if number is None:
                return [FieldProblem("spec.clusterIPs", "Internal error: failed to allocate a serviceIP: range is full",
                                     "InternalError")]  # fmt: skip
            wanted = address_text(number)
        elif problem := self._address_problem(key, wanted):
            text = f'Invalid value: ["{wanted}"]: failed to allocate IP {wanted}: {problem}'
            return [FieldProblem("spec.clusterIPs", text)]
        spec["clusterIP"], spec["clusterIPs"] = wanted, [wanted]
        return []

    def _address_problem(self, key: str, wanted: str) -> str:
        try:
            number = int(IPv4Address(wanted))
        except AddressValueError:
            return "it is not an IPv4 address"
        if number not in self.addresses:
            return f"the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {self.subnet}"
        return "provided IP is already allocated" if self.holdings.address_holder(number) not in {"", key} else ""

    def _allocate_ports(self, key: str, spec: Json) -> list[FieldProblem]:
        taken: set[PortKey] = set()
        problems = []
        for index, port in enumerate(_ports(spec)):
            if number := port.get("nodePort"):
                wanted = (number, port.get("protocol", "TCP"))
                problems += self._port_problems(key, f"spec.ports[{index}].nodePort", wanted, taken)
                taken.add(wanted)
        if needs_health_check_port(spec) and (number := spec.get("healthCheckNodePort")):
            problems += self._port_problems(key, "spec.healthCheckNodePort", (number, "TCP"), taken)
            taken.add((number, "TCP"))
        return problems or self._choose_ports(key, spec, taken)

    def _port_problems(self, key: str, path: str, wanted: PortKey, taken: set[PortKey]) -> list[FieldProblem]:
        number = wanted[0]
        if number not in self.ports:
            why = f"provided port is not in the valid range. The range of valid ports is {self.node_port_range}"
        elif wanted in taken or self.holdings.ports.get(wanted, key) != key:
            why = "provided port is already allocated"
        else:
            return []
        return [FieldProblem(path, f"Invalid value: {number}: {why}")]

    def _choose_ports(self, key: str, spec: Json, taken: set[PortKey]) -> list[FieldProblem]:
        """Hand out the missing node ports; a port number used for TCP and UDP gets the same one for both."""
        chosen = {port["port"]: port["nodePort"] for port in _ports(spec) if port.get("nodePort")}
        seed = self.holdings.former.seed(key)
        wants = [(port, f"{seed}:{port['port']}") for port in _ports(spec) if not port.get("nodePort")]
        for port, own_seed in wants if allocates_node_ports(spec) else ():
            protocol = port.get("protocol", "TCP")
            number = chosen.get(port["port"])
            if number is None or not self._free(key, (number, protocol), taken):
                number = self._choose_port(key, own_seed, protocol, taken)
            if number is None:
                return [
                    FieldProblem("spec.ports", "Internal error: failed to allocate a nodePort: range is full", "InternalError")
                ]
            port["nodePort"] = chosen[port["port"]] = number
            taken.add((number, protocol))
        if needs_health_check_port(spec) and not spec.get("healthCheckNodePort"):
            number = self._choose_port(key, f"{seed}:health", "TCP", taken)
            if number is None:
                return [FieldProblem("spec.healthCheckNodePort", "Internal error: range is full", "InternalError")]
            spec["healthCheckNodePort"] = number
        return []

    def _choose_port(self, key: str, seed: str, protocol: str, taken: set[PortKey]) -> int | None:
        former = {number for number, _ in self.holdings.former.of(key).last.ports}
        return self.ports.choose(seed, lambda number: self._free(key, (number, protocol), taken), former)

    def _free(self, key: str, wanted: PortKey, taken: set[PortKey]) -> bool:
        return wanted not in taken and self.holdings.ports.get(wanted, key) == key

    def hold(self, key: str, spec: Json) -> None:
        """Record what a committed Service holds."""
        address = spec.get("clusterIP", "")
        addresses = {int(IPv4Address(address))} if address and address != "None" and needs_cluster_ip(spec) else set()
        ports = {(port["nodePort"], port.get("protocol", "TCP")) for port in _ports(spec) if port.get("nodePort")}
        if spec.get("healthCheckNodePort"):
            ports.add((spec["healthCheckNodePort"], "TCP"))
        self.holdings.update(key, Claims(frozenset(addresses), frozenset(ports)))

    def release(self, key: str) -> None:
        """Free everything a deleted Service held."""
        self.holdings.delete(key)
