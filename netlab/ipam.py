"""Which address belongs to what: a lab's address plan, and the allocator of pod addresses.

The plan is arithmetic on the ranges of `spec.networking`, so every part of netlab computes the same address without
asking anybody (docs/architecture.md):

    node subnet      .1 edge   .2 API server   .3 the machine (runtime docker)
                     + 256 + i: node i (172.30.1.i); in a subnet smaller than /22, + 10 + i
    pod subnet       the i-th /24 (IPv6: /64) for node i; the first is never used (semantics 2.3)
    outside subnet   .1 edge   + 9 + i: client i (203.0.113.10, ...)
    service subnet   .1 kubernetes (semantics 4.2)   .10 kube-dns
    pool             addresses of LoadBalancer Services, from the first host on

Indexes count from 1. Pod addresses on a node are handed out as the CNI plugin host-local does it (semantics 3.27,
3.28): round robin, so a freed address comes back only after the whole range has been walked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from netlab.api.lab import Lab, Networking
from netlab.errors import InvalidTopologyError
from netlab.family import Family, IpNetwork

API_SERVER_PORT = 6443
POD_PREFIXES = {Family.IPV4: 24, Family.IPV6: 64}  # flannel's SubnetLen (semantics 2.2)
WIDE_NODE_BITS = 10  # wider node subnets (/22) keep nodes apart from infrastructure: 172.30.1.x
EXAMPLES = {Family.IPV4: "10.244.0.0/16", Family.IPV6: "fd00:10:244::/48"}  # for messages
FIRST_NODE_WIDE = 256
FIRST_NODE_NARROW = 10
FIRST_CLIENT = 9


@dataclass(frozen=True)
class AddressPlan:
    """The addresses of one lab and family. `pool` is empty when the lab has no load balancer."""

    networking: Networking
    pool: str = ""
    family: Family = Family.IPV4  # of all ranges

    @classmethod
    def of(cls, lab: Lab, family: Family = Family.IPV4) -> AddressPlan:
        """Return the plan of a lab."""
        balancer = lab.spec.load_balancer
        return cls(lab.spec.networking, balancer.pool if balancer else "", family)

    @property
    def edge_underlay(self) -> str:
        """The edge on the underlay: the nodes' default gateway."""
        return self._nth(self.networking.node_subnet, 1, "nodeSubnet")

    @property
    def api_server(self) -> str:
        """The API server on the underlay."""
        return self._nth(self.networking.node_subnet, 2, "nodeSubnet")

    @property
    def machine(self) -> str:
        """The machine itself on the underlay, with runtime docker: how it reaches nodes."""
        return self._nth(self.networking.node_subnet, 3, "nodeSubnet")

    @property
    def node_prefix(self) -> int:
        """Prefix length of addresses on the underlay."""
        return self._network(self.networking.node_subnet, "nodeSubnet").prefixlen

    def node(self, index: int) -> str:
        """Return the underlay address of node `index`."""
        return self._nth(self.networking.node_subnet, self._first_node + index, "nodeSubnet")

    def node_index(self, address: str) -> int | None:
        """Return which node an underlay address belongs to, None when it is no node's."""
        network = self._network(self.networking.node_subnet, "nodeSubnet")
        try:
            parsed = self.family.address(address)
        except ValueError:
            return None
        index = int(parsed) - int(network.network_address) - self._first_node
        return index if index > 0 and parsed in network else None

    def pod_cidr(self, index: int) -> str:
        """Return the pod range of node `index`, e.g. 10.244.1.0/24."""
        pods = self._network(self.networking.pod_subnet, "podSubnet")
        prefix = POD_PREFIXES[self.family]
        offset = index << (self.family.bits - prefix)
        if index < 1 or pods.prefixlen > prefix or offset >= pods.num_addresses:
            told = f"{pods} has no /{prefix} for node {index}; use a wider one"
            raise InvalidTopologyError((f"spec.networking.podSubnet: {told}",))
        return f"{pods.network_address + offset}/{prefix}"

    @property
    def edge_outside(self) -> str:
        """The edge on the outside network: the clients' default gateway."""
        return self._nth(self.networking.outside_subnet, 1, "outsideSubnet")

    @property
    def outside_prefix(self) -> int:
        """Prefix length of addresses on the outside network."""
        return self._network(self.networking.outside_subnet, "outsideSubnet").prefixlen

    def client(self, index: int) -> str:
        """Return the address of client `index`."""
        return self._nth(self.networking.outside_subnet, FIRST_CLIENT + index, "outsideSubnet")

    @property
    def kubernetes_service(self) -> str:
        """ClusterIP of default/kubernetes."""
        return self._nth(self.networking.service_subnet, 1, "serviceSubnet")

    @property
    def dns_service(self) -> str:
        """ClusterIP of kube-system/kube-dns."""
        return self._nth(self.networking.service_subnet, 10, "serviceSubnet")

    def load_balancer_addresses(self) -> Iterator[str]:
        """Yield the pool's addresses, lowest first; none without a pool."""
        if self.pool:
            yield from (str(address) for address in self._network(self.pool, "pool").hosts())

    @property
    def _first_node(self) -> int:
        wide = self.family.bits - self.node_prefix >= WIDE_NODE_BITS
        return FIRST_NODE_WIDE if wide else FIRST_NODE_NARROW

    def _nth(self, subnet: str, offset: int, field: str) -> str:
        """Return network address + offset, refusing what is no host address of the subnet."""
        network = self._network(subnet, field)
        if not 0 < offset < network.num_addresses - 1:
            told = f"{network} is too small for its address number {offset}; use a wider one"
            raise InvalidTopologyError((f"spec.networking.{field}: {told}",))
        return str(network.network_address + offset)

    def _network(self, text: str, field: str) -> IpNetwork:
        try:
            return self.family.network(text)
        except ValueError as error:
            path = "spec.loadBalancer.pool" if field == "pool" else f"spec.networking.{field}"
            told = f"{text!r} is no {self.family.name} network: {error}; write it as "
            raise InvalidTopologyError((f"{path}: {told}{EXAMPLES[self.family]}",)) from error


class Pool:
    """The addresses for LoadBalancer Services and who has which. The owners are `namespace/name`."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.addresses = dict.fromkeys(addresses)
        self.owners: dict[str, str] = {}

    def take(self, address: str, key: str) -> str:
        """Give an address to a Service; returns why not, empty when it is given."""
        if address not in self.addresses:
            return f'"{address}" is not in the pool'
        holder = self.owners.setdefault(address, key)
        return "" if holder == key else f'"{address}" is in use by "{holder}"'

    def take_any(self, key: str) -> str | None:
        """Give the lowest free address to a Service; None when there is none."""
        free = next((address for address in self.addresses if address not in self.owners), None)
        if free is not None:
            self.owners[free] = key
        return free


def next_address(cidr: str, last_reserved: str | None, in_use: Collection[str]) -> str | None:
    """Return the pod address to hand out next, None when the range is used up.

    Starts after `last_reserved` and wraps once. The range's first and last address and the gateway
    (.1) are never handed out.
    """
    network = ip_network(cidr)
    size = network.num_addresses - 3  # candidates are number 2 and on: the gateway is number 1
    last = last_reserved or ""
    known = ip_address(last) if is_pod_address(cidr, last) else network.network_address + 1
    start = int(known) - int(network.network_address)
    for step in range(size):
        candidate = str(network.network_address + 2 + (start - 1 + step) % size)
        if candidate not in in_use:
            return candidate
    return None


def is_pod_address(cidr: str, text: str) -> bool:
    """Tell whether a text is an address that `next_address` may hand out of this range."""
    network = ip_network(cidr)
    try:
        address = ip_address(text)
    except ValueError:
        return False
    number = int(address) - int(network.network_address)
    return address in network and 1 < number < network.num_addresses - 1


def exhausted(cidr: str) -> str:
    """Return host-local's words for a range without free addresses."""
    last = ip_network(cidr).broadcast_address - 1
    return f"no IP addresses available in range set: {gateway(cidr)}-{last}"


def gateway(cidr: str) -> str:
    """Return the address of a node's cni0: the first of its pod range."""
    return str(ip_network(cidr).network_address + 1)
