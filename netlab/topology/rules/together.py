"""Rules between the objects of one topology: names that refer to each other, numbers that only one may have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Network
from typing import Any

from netlab.api import resources as r
from netlab.api.lab import Lab
from netlab.api.wellknown import KUBE_DNS, KUBERNETES, SYSTEM_NAMESPACES
from netlab.topology import syntax
from netlab.topology.manifest import Finding, Item
from netlab.topology.problem import Steps, did_you_mean, duplicate, invalid, not_found

_OWN_ADDRESSES = {1: f"Service {KUBERNETES}", 10: f"Service {KUBE_DNS}"}


def together_problems(lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """Yield what is wrong between the objects of a topology."""
    for rule in (identities, namespaces, service_numbers, service_addresses):
        yield from rule(lab, items)


def identities(_lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """One object per kind, namespace and name."""
    seen: dict[tuple[str, str, str], Item] = {}
    for item in items:
        at = ("metadata", "name")
        key = (item.resource.kind, item.namespace, item.name)
        if item.name and (first := seen.get(key)):
            yield item, duplicate(at, item.name, f"{item.words} is already defined at {first.place}")
        seen.setdefault(key, item)


def declared_namespaces(items: Iterable[Item]) -> frozenset[str]:
    """Return the namespaces of the lab: Kubernetes' own and those the topology declares."""
    return frozenset(SYSTEM_NAMESPACES) | {item.name for item in items if item.resource is r.NAMESPACES}


def namespaces(_lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """A manifest's namespace must exist."""
    known = declared_namespaces(items)
    for item in items:
        if item.namespace and item.namespace not in known:
            remedy = f"declare it with a document of kind Namespace{did_you_mean(item.namespace, sorted(known))}"
            yield item, not_found(("metadata", "namespace"), item.namespace, remedy)


def services(items: Iterable[Item]) -> Iterator[tuple[Item, Any]]:
    """Yield the Services with their specs."""
    for item in items:
        if item.resource is r.SERVICES:
            obj: Any = item.obj
            yield item, obj.spec


def service_numbers(_lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """A node port belongs to one Service per protocol, health check ports among them (semantics 4.5)."""
    taken: dict[tuple[str, int], Item] = {}
    for item, spec in services(items):
        wanted: list[tuple[Steps, str, int]] = [
            (("spec", "ports", index, "nodePort"), port.protocol, port.node_port) for index, port in enumerate(spec.ports)
        ]
        wanted.append((("spec", "healthCheckNodePort"), "TCP", spec.health_check_node_port))
        for steps, protocol, number in wanted:
            owner = taken.setdefault((protocol, number), item) if number else item
            if owner is not item:
                yield item, invalid(steps, number, f"provided port is already allocated to {owner.words} in {owner.place}")


def service_addresses(lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """A ClusterIP belongs to one Service."""
    subnet = lab.spec.networking.service_subnet
    taken: dict[str, str] = {}
    if not syntax.NETWORK.fault(subnet):
        network = IPv4Network(subnet, strict=False)
        taken = {str(network[offset]): words for offset, words in _OWN_ADDRESSES.items() if offset < network.num_addresses}
    for item, spec in services(items):
        address = spec.cluster_ip
        if address in {"", "None"}:
            continue
        if address in taken:
            yield item, invalid(("spec", "clusterIP"), address, f"provided IP is already allocated to {taken[address]}")
        taken.setdefault(address, f"{item.words} in {item.place}")
