"""Addresses that Services of one topology request and will not get: hints, never a reason to refuse.

A running lab shows the same about its Services in `netlab status` (`netlab.proxy.remarks`). The rules are those of the
service proxy (of two Services with one external address and port the first by namespace and name has it) and of the
load balancer's pool (Services that ask for an address come first, then the others, by namespace and name).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from netlab.api.lab import Lab
from netlab.topology.manifest import Finding, Item
from netlab.topology.problem import Problem
from netlab.topology.rules.together import services

STAYS = "the external address will stay <pending>"


def external_notes(lab: Lab, items: Sequence[Item]) -> Iterator[Finding]:
    """Yield a note for every external address that a Service will not get."""
    ordered = sorted(services(items), key=lambda found: _key(found[0]))
    yield from _claimed_twice(ordered)
    yield from _pending(lab, ordered)


def _key(item: Item) -> str:
    return f"{item.namespace}/{item.name}"


def _claimed_twice(ordered: Sequence[tuple[Item, Any]]) -> Iterator[Finding]:
    owners: dict[tuple[str, str, int], str] = {}
    for item, spec in ordered:
        if spec.type == "ExternalName" or spec.cluster_ip == "None":
            continue
        for index, address in enumerate(spec.external_ips):
            for port in spec.ports:
                owner = owners.setdefault((address, port.protocol, port.port), _key(item))
                if owner != _key(item):
                    number = f"port {port.port}/{port.protocol} of {address}"
                    words = f"{number} leads to Service {owner}, which lists the same address and port"
                    yield item, Problem(("spec", "externalIPs", index), words)


def _pending(lab: Lab, ordered: Sequence[tuple[Item, Any]]) -> Iterator[Finding]:
    balanced = [(item, spec) for item, spec in ordered if spec.type == "LoadBalancer"]
    for item, spec in balanced:
        if name := spec.load_balancer_class:
            words = f'"{name}" is the class of another load balancer: {STAYS}'
            yield item, Problem(("spec", "loadBalancerClass"), words)
    mine = [(item, spec) for item, spec in balanced if not spec.load_balancer_class]
    if lab.spec.load_balancer is None:
        for item, _ in mine:
            yield item, Problem(("spec", "type"), f"the Lab has no spec.loadBalancer: {STAYS}")
        return
    yield from _beyond_the_pool(lab.spec.load_balancer.pool, mine)


def _beyond_the_pool(pool: str, mine: Sequence[tuple[Item, Any]]) -> Iterator[Finding]:
    network = IPv4Network(pool, strict=False)
    edges = set() if network.prefixlen >= 31 else {network.network_address, network.broadcast_address}
    size, owners = network.num_addresses - len(edges), dict[IPv4Address, str]()
    for item, spec in mine:
        if not spec.load_balancer_ip:
            continue
        wanted = IPv4Address(spec.load_balancer_ip)
        if wanted not in network or wanted in edges:
            yield item, _refused(spec, f"is not in spec.loadBalancer.pool {network}")
        elif (owner := owners.setdefault(wanted, _key(item))) != _key(item):
            yield item, _refused(spec, f"is also requested by Service {owner}, which takes precedence")
    others = [item for item, spec in mine if not spec.load_balancer_ip]
    for item in others[size - len(owners) :]:
        words = f"spec.loadBalancer.pool {network} has {size} addresses for {len(owners) + len(others)} Services: {STAYS}"
        yield item, Problem(("spec", "type"), words)


def _refused(spec: Any, why: str) -> Problem:
    return Problem(("spec", "loadBalancerIP"), f"{spec.load_balancer_ip} {why}: {STAYS}")
