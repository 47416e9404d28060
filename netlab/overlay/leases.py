"""What flannel's backends share: a node's lease in its Node object, and which leases fit together.

A node announces its lease by annotations (semantics 2.8); flanneld can read and write the same.
A node ignores its own lease (2.12) and those of other backends, with a warning (2.11). The backend
reads what it adds to a lease.

Another node writes a lease, so it is parsed as any text of an object. A lease that cannot be used
is left out alone, as flannel logs it and continues with the next one: a public address that is this
node's own or a pod's, a subnet outside the pod network or over another node's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TypeVar

from netlab.api import values
from netlab.api.cluster import Node
from netlab.api.values import Cidr, Ip
from netlab.api.wellknown import FLANNEL_PUBLIC_IP, FLANNEL_PUBLIC_IP_OVERWRITE
from netlab.dataplane.owned import OwnedState
from netlab.errors import InvalidValueError
from netlab.family import Family, IpNetwork

PREFIX = "flannel.alpha.coreos.com/"
BACKEND_TYPE = f"{PREFIX}backend-type"
KUBE_SUBNET_MANAGER = f"{PREFIX}kube-subnet-manager"
PUBLIC_IP, PUBLIC_IP_OVERWRITE = FLANNEL_PUBLIC_IP, FLANNEL_PUBLIC_IP_OVERWRITE


@dataclass(frozen=True)
class Lease:
    """A node's part of the pod network and the address that leads to the node."""

    node: str
    subnet: Cidr  # 10.244.1.0/24
    public_ip: Ip


@dataclass(frozen=True)
class Problem:
    """Why a node is not part of the overlay. `wrong`: its lease is invalid, not just missing."""

    node: str
    reason: str
    wrong: bool = False


@dataclass(frozen=True)
class Overlay:
    """What a node's namespace holds, a fragment per remote node, and which nodes are left out."""

    state: OwnedState
    ignored: tuple[Problem, ...] = ()


AnyLease = TypeVar("AnyLease", bound=Lease)


def own_lease(node: Node, family: Family) -> Lease:
    """Return a node's own lease.

    Raises InvalidValueError if its Node object has invalid addresses.
    """
    subnet = values.cidr(node.spec.pod_cidr, "spec.podCIDR", family)
    return Lease(node.metadata.name, subnet, node.address_of(family))


def lease_annotations(backend: str, public_ip: Ip) -> dict[str, str]:
    """Return the annotations of every backend's lease, as flanneld writes them (2.8)."""
    return {BACKEND_TYPE: backend, KUBE_SUBNET_MANAGER: "true", PUBLIC_IP: public_ip}


def parse(
    backend: str,
    node: str,
    pod_cidr: str,
    annotations: Mapping[str, str],
    finish: Callable[[Lease], AnyLease],
    *,
    family: Family,
) -> AnyLease | Problem:
    """Read a node's lease from its Node object.

    `finish` adds the data of the backend or raises InvalidValueError.
    """
    announced = annotations.get(BACKEND_TYPE, "")
    if not pod_cidr:
        return Problem(node, "it has no spec.podCIDR yet")
    if annotations.get(KUBE_SUBNET_MANAGER) != "true" or not announced:
        return Problem(node, "its agent has not announced a lease yet")
    if announced != backend:
        mixed = f"its backend is {values.shown(announced)}, not {backend}"
        return Problem(node, f"{mixed}: overlays do not mix (semantics 2.11)")
    public_ip = annotations.get(PUBLIC_IP_OVERWRITE) or annotations.get(PUBLIC_IP, "")
    try:
        subnet = values.cidr(pod_cidr, "spec.podCIDR", family)
        address = values.unicast(public_ip, f"annotation {PUBLIC_IP}", family)
        return finish(Lease(node, subnet, address))
    except InvalidValueError as error:
        return Problem(node, f"its lease cannot be used: {error.message}", wrong=True)


def accept(
    local: Lease,
    remotes: Iterable[AnyLease | Problem],
    pods: str,
    conflict: Callable[[AnyLease], str] = lambda _: "",
) -> tuple[tuple[AnyLease, ...], tuple[Problem, ...]]:
    """Return the leases to program, by node name, and the reasons for the others.

    `remotes` may hold the own lease; `conflict` returns what else is wrong with a lease, or "".
    """
    others = [remote for remote in remotes if remote.node != local.node]
    ignored = [remote for remote in others if isinstance(remote, Problem)]
    candidates = [remote for remote in others if not isinstance(remote, Problem)]
    leases: list[AnyLease] = []
    for lease in sorted(candidates, key=lambda lease: lease.node):
        if reason := _hindrance(lease, local, leases, ip_network(pods)) or conflict(lease):
            ignored.append(Problem(lease.node, reason, wrong=True))
        else:
            leases.append(lease)
    return tuple(leases), tuple(sorted(ignored, key=lambda problem: problem.node))


def _hindrance(lease: Lease, local: Lease, accepted: Iterable[Lease], pods: IpNetwork) -> str:
    """Return why a lease does not fit beside the others, empty if it does."""
    subnet = ip_network(lease.subnet)
    if subnet.network_address not in pods or subnet.prefixlen < pods.prefixlen:
        return f"its subnet {lease.subnet} is outside the pod network {pods}"
    if any(subnet.overlaps(ip_network(other.subnet)) for other in (local, *accepted)):
        return f"its subnet {lease.subnet} belongs to another node"
    if lease.public_ip == local.public_ip:
        return f"its public address {lease.public_ip} is this node's own"
    inside = pods.prefixlen > 0 and ip_address(lease.public_ip) in pods
    return f"its public address {lease.public_ip} is inside the pod network" if inside else ""
