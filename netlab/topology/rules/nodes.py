"""Nodes: addresses that a host can have, a pod range inside the lab's."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from netlab.api.cluster import Node, NodeAddress, NodeSpec
from netlab.api.lab import Networking
from netlab.topology.problem import Problem, Steps, duplicate, invalid
from netlab.topology.syntax import DNS_SUBDOMAIN, NETWORK, UNICAST_ADDRESS

_SYNTAX = {
    "InternalIP": UNICAST_ADDRESS,
    "ExternalIP": UNICAST_ADDRESS,
    "Hostname": DNS_SUBDOMAIN,
    "InternalDNS": DNS_SUBDOMAIN,
    "ExternalDNS": DNS_SUBDOMAIN,
}


def node_problems(node: Node, networking: Networking | None) -> Iterator[Problem]:
    """Yield what is wrong with a Node; its pod range is checked when the lab's networking is given."""
    yield from _pod_range_problems(node.spec, networking)
    seen: set[NodeAddress] = set()
    for index, address in enumerate(node.status.addresses):
        at: Steps = ("status", "addresses", index)
        kind = _SYNTAX.get(address.type)
        if kind and address.address and (fault := kind.fault(address.address)):
            yield invalid((*at, "address"), address.address, fault)
        if address in seen:
            yield duplicate(at, address.address)
        seen.add(address)


def _pod_range_problems(spec: NodeSpec, networking: Networking | None) -> Iterator[Problem]:
    if len(spec.pod_cidrs) > 1:
        yield invalid(("spec", "podCIDRs"), len(spec.pod_cidrs), "may contain one range only: the networks of a lab are IPv4")
    elif spec.pod_cidrs and spec.pod_cidrs[0] != spec.pod_cidr:
        yield invalid(("spec", "podCIDRs", 0), spec.pod_cidrs[0], "must be equal to `podCIDR`")
    if not spec.pod_cidr or NETWORK.fault(spec.pod_cidr):
        return  # there is none, or the decoder has reported it
    at, network = ("spec", "podCIDR"), IPv4Network(spec.pod_cidr, strict=False)
    if spec.pod_cidr != str(network):
        yield invalid(at, spec.pod_cidr, f"has bits set after its prefix; did you mean {network}?")
    elif networking and not network.subnet_of(IPv4Network(networking.pod_subnet, strict=False)):
        yield invalid(at, spec.pod_cidr, f"must be inside the lab's podSubnet {networking.pod_subnet}")
