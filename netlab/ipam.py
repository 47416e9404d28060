"""Which address belongs to what: a lab's address plan, and the allocator of pod addresses.

The plan is arithmetic on the ranges of `spec.networking`, so every part of netlab computes the same address without
asking anybody (docs/architecture.md):

    node subnet      .1 edge   .2 API server   .3 the machine (runtime docker)
                     + 256 + i: node i (172.30.1.i); in a subnet smaller than /22, + 10 + i
    pod subnet       the i-th /24 for node i; the first one is never used (semantics 2.3)
    outside subnet   .1 edge   + 9 + i: client i (203.0.113.10, ...)
    service subnet   .1 kubernetes (semantics 4.2)   .10 kube-dns
    pool             addresses of LoadBalancer Services, from the first host on

Indexes count from 1. Pod addresses on a node are handed out as the CNI plugin host-local does it (semantics 3.27,
3.28): round robin, so a freed address comes back only after the whole range has been walked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from netlab.api.lab import Lab, Networking
from netlab.errors import InvalidTopologyError

API_SERVER_PORT = 6443
POD_PREFIX = 24  # flannel's SubnetLen (semantics 2.2)
WIDE_NODE_PREFIX = 22  # node subnets at least this wide keep nodes apart from infrastructure: 172.30.1.x
FIRST_NODE_WIDE = 256
FIRST_NODE_NARROW = 10
FIRST_CLIENT = 9


@dataclass(frozen=True)
class AddressPlan:
    """The addresses of one lab. `pool` is empty when the lab has no load balancer."""

    networking: Networking
    pool: str = ""

    @classmethod
    def of(cls, lab: Lab) -> AddressPlan:
        """Return the plan of a lab."""
        balancer = lab.spec.load_balancer
        return cls(lab.spec.networking, balancer.pool if balancer else "")

    @property
    def edge_underlay(self) -> str:
        """The edge on the underlay: the nodes' default gateway."""
        return _nth(self.networking.node_subnet, 1, "nodeSubnet")

    @property
    def api_server(self) -> str:
        """The API server on the underlay."""
        return _nth(self.networking.node_subnet, 2, "nodeSubnet")

    @property
    def machine(self) -> str:
        """The machine itself on the underlay, with runtime docker: how it reaches nodes."""
        return _nth(self.networking.node_subnet, 3, "nodeSubnet")

    @property
    def node_prefix(self) -> int:
        """Prefix length of addresses on the underlay."""
        return _network(self.networking.node_subnet, "nodeSubnet").prefixlen

    def node(self, index: int) -> str:
        """Return the underlay address of node `index`."""
        return _nth(self.networking.node_subnet, self._first_node + index, "nodeSubnet")

    def node_index(self, address: str) -> int | None:
        """Return which node an underlay address belongs to, None when it is no node's."""
        try:
            offset = int(IPv4Address(address)) - int(_network(self.networking.node_subnet, "nodeSubnet").network_address)
        except AddressValueError:
            return None
        index = offset - self._first_node
        return index if index > 0 and IPv4Address(address) in _network(self.networking.node_subnet, "nodeSubnet") else None

    def pod_cidr(self, index: int) -> str:
        """Return the pod range of node `index`, e.g. 10.244.1.0/24."""
        pods = _network(self.networking.pod_subnet, "podSubnet")
        start = int(pods.network_address) + index * (1 << (32 - POD_PREFIX))
        if index < 1 or pods.prefixlen > POD_PREFIX or IPv4Address(start) not in pods:
            raise InvalidTopologyError(
                (f"spec.networking.podSubnet: {pods} has no /{POD_PREFIX} for node {index}; use a wider one",)
            )
        return f"{IPv4Address(start)}/{POD_PREFIX}"

    @property
    def edge_outside(self) -> str:
        """The edge on the outside network: the clients' default gateway."""
        return _nth(self.networking.outside_subnet, 1, "outsideSubnet")

    @property
    def outside_prefix(self) -> int:
        """Prefix length of addresses on the outside network."""
        return _network(self.networking.outside_subnet, "outsideSubnet").prefixlen

    def client(self, index: int) -> str:
        """Return the address of client `index`."""
        return _nth(self.networking.outside_subnet, FIRST_CLIENT + index, "outsideSubnet")

    @property
    def kubernetes_service(self) -> str:
        """ClusterIP of default/kubernetes."""
        return _nth(self.networking.service_subnet, 1, "serviceSubnet")

    @property
    def dns_service(self) -> str:
        """ClusterIP of kube-system/kube-dns."""
        return _nth(self.networking.service_subnet, 10, "serviceSubnet")

    def load_balancer_addresses(self) -> Iterator[str]:
        """Yield the pool's addresses, lowest first; none without a pool."""
        if self.pool:
            yield from (str(address) for address in _network(self.pool, "pool").hosts())

    @property
    def _first_node(self) -> int:
        return FIRST_NODE_WIDE if self.node_prefix <= WIDE_NODE_PREFIX else FIRST_NODE_NARROW


def _network(text: str, field: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as error:
        path = "spec.loadBalancer.pool" if field == "pool" else f"spec.networking.{field}"
        raise InvalidTopologyError((f"{path}: {text!r} is no IPv4 network: {error}; write it as 10.244.0.0/16",)) from error


def _nth(subnet: str, offset: int, field: str) -> str:
    """Return network address + offset, refusing what is no host address of the subnet."""
    network = _network(subnet, field)
    if not 0 < offset < network.num_addresses - 1:
        raise InvalidTopologyError(
            (f"spec.networking.{field}: {network} is too small for its address number {offset}; use a wider one",)
        )
    return str(network.network_address + offset)


def next_address(cidr: str, last_reserved: str | None, in_use: Collection[str]) -> str | None:
    """Return the pod address to hand out next, None when the range is used up.

    Starts after `last_reserved` and wraps once; network, gateway (.1) and broadcast are never handed out.
    """
    first, last = _range(cidr)
    size = last - first  # candidates are first + 1 .. last: the gateway is `first`
    start = int(IPv4Address(last_reserved)) if last_reserved else first
    if not first <= start <= last:
        start = first
    for step in range(1, size + 1):
        candidate = str(IPv4Address(first + 1 + (start - first + step - 1) % size))
        if candidate not in in_use:
            return candidate
    return None


def is_pod_address(cidr: str, text: str) -> bool:
    """Tell whether a text is an address that `next_address` may hand out of this range."""
    first, last = _range(cidr)
    try:
        return first < int(IPv4Address(text)) <= last
    except ValueError:
        return False


def exhausted(cidr: str) -> str:
    """Return host-local's words for a range without free addresses."""
    first, last = _range(cidr)
    return f"no IP addresses available in range set: {IPv4Address(first)}-{IPv4Address(last)}"


def gateway(cidr: str) -> str:
    """Return the address of a node's cni0: the first of its pod range."""
    return str(IPv4Address(_range(cidr)[0]))


def _range(cidr: str) -> tuple[int, int]:
    """Return the first and last host address of a range as numbers."""
    network = IPv4Network(cidr)
    return int(network.network_address) + 1, int(network.broadcast_address) - 1
