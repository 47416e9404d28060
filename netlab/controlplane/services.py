"""Services on write: addresses and node ports are checked and allocated (semantics 4).

`netlab.controlplane.kinds.service` decides what a write keeps of earlier allocations. `allocate`
adds what is then missing; what was asked for must be free. Nothing is held before the commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from netlab.api.resources import Json
from netlab.api.wellknown import KUBE_DNS, KUBERNETES
from netlab.controlplane.allocation import Band, Claims, Holdings, PortKey, address_band, address_text, node_port_band
from netlab.controlplane.kinds.service import (
    allocates_node_ports,
    needs_cluster_ip,
    needs_health_check_port,
    ports_of,
)
from netlab.controlplane.status import FieldProblem


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
        for index, port in enumerate(ports_of(spec)):
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
        chosen = {port["port"]: port["nodePort"] for port in ports_of(spec) if port.get("nodePort")}
        seed = self.holdings.former.seed(key)
        without = [port for port in ports_of(spec) if not port.get("nodePort")]
        wants = [(port, f"{seed}:{port['port']}") for port in without]
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
        with_node_port = [port for port in ports_of(spec) if port.get("nodePort")]
        ports = {(port["nodePort"], port.get("protocol", "TCP")) for port in with_node_port}
        if spec.get("healthCheckNodePort"):
            ports.add((spec["healthCheckNodePort"], "TCP"))
        self.holdings.update(key, Claims(frozenset(addresses), frozenset(ports)))

    def release(self, key: str) -> None:
        """Free everything a deleted Service held."""
        self.holdings.delete(key)
