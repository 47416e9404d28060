"""What Services ask for and do not get is said, and only that (semantics 4.8, 4.10, 4.12)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from proxy_builders import service, slice_of

from netlab.api.discovery import EndpointPort
from netlab.api.lab import Lab, LabSpec, LoadBalancer
from netlab.api.services import ServicePort
from netlab.family import Family
from netlab.proxy.remarks import Claimed, lost_claims, remarks

LAB = Lab(spec=LabSpec(load_balancer=LoadBalancer(pool="198.51.100.0/30")))
PENDING = "the external address stays <pending>"
DNS = ServicePort(port=80, name="dns", protocol="UDP")


def external(name: str, number: int, *addresses: str, **more: Any) -> Any:
    return service(name=name, cluster_ip=f"10.96.0.{number}", external_ips=addresses, **more)


def balanced(name: str, number: int, **more: Any) -> Any:
    return service(name=name, cluster_ip=f"10.96.0.{number}", type="LoadBalancer", **more)


@pytest.mark.parametrize(
    ("services", "lost"),
    [
        ([external("a", 1, "192.0.2.7"), external("b", 2, "192.0.2.8")], {}),
        ([external("b", 1, "192.0.2.7"), external("a", 2, "192.0.2.7")], {("ns/b", "192.0.2.7", "TCP", 80): "ns/a"}),
        ([external("a", 1, "192.0.2.7"), external("b", 2, "192.0.2.7", ports=(DNS,))], {}),
        ([external("a", 1, "192.0.2.7"), external("b", 2, "192.0.2.7", ports=(ServicePort(port=81),))], {}),
        ([external("a", 1, "10.96.0.2"), external("b", 2)], {("ns/a", "10.96.0.2", "TCP", 80): "ns/b"}),
        ([external("a", 1, "192.0.2.7"), balanced("b", 2, lb="192.0.2.7")], {("ns/b", "192.0.2.7", "TCP", 80): "ns/a"}),
        ([external("a", 1, "192.0.2.7"), external("b", 2, "192.0.2.7", labels={"service.kubernetes.io/headless": ""})], {}),
        ([external("a", 1, "192.0.2.7"), external("b", 2, "192.0.2.x")], {}),
    ],
)
def test_an_external_address_has_one_service(services: list[Any], lost: dict[Any, str]) -> None:
    """Who loses an address and port is named with who has it, as the rules decide (`netlab.proxy.claims`)."""
    words = [
        f"Service {key} is not served at {address} port {port}/{protocol}: Service {owner} has that address and port"
        for (key, address, protocol, port), owner in lost.items()
    ]

    assert {Claimed(*claim): owner for claim, owner in lost.items()} == lost_claims(services, Family.IPV4)
    assert tuple(words) == remarks(LAB, services, ())


@pytest.mark.parametrize(
    ("lab", "services", "expected"),
    [
        (LAB, [balanced("a", 1, lb="198.51.100.1")], []),
        (LAB, [balanced("a", 1)], []),  # one is free: it will come
        (Lab(), [balanced("a", 1)], [f"Service ns/a: {PENDING}: the Lab has no spec.loadBalancer"]),
        (
            LAB,
            [balanced("a", 1, load_balancer_class="example.com/x")],
            [f'Service ns/a: {PENDING}: loadBalancerClass "example.com/x" belongs to another load balancer than the lab\'s'],
        ),
        (
            LAB,
            [balanced("a", 1, load_balancer_ip="198.51.100.9")],
            [f'Service ns/a: {PENDING}: "198.51.100.9" is not in the pool'],
        ),
        (
            LAB,
            [balanced("a", 1, load_balancer_ip="198.51.100.2"), balanced("b", 2, lb="198.51.100.2")],
            [f'Service ns/a: {PENDING}: "198.51.100.2" is in use by "ns/b"'],
        ),
        (
            LAB,
            [balanced("a", 1, lb="198.51.100.1"), balanced("b", 2, lb="198.51.100.2"), balanced("c", 3)],
            [f"Service ns/c: {PENDING}: all 2 addresses of spec.loadBalancer.pool are in use"],
        ),
    ],
)
def test_a_pending_load_balancer_says_why(lab: Lab, services: list[Any], expected: list[str]) -> None:
    """A LoadBalancer that gets no address says which of the reasons it is."""
    assert expected == list(remarks(lab, services, ()))


NAMED = service(ports=(ServicePort(port=80, name="http", target_port="web"),), selector={"app": "a"})


@pytest.mark.parametrize(
    ("subject", "slices", "said"),
    [
        (NAMED, [slice_of("10.244.1.5", ports=(EndpointPort(port=80, name="http", protocol="TCP"),))], False),
        (NAMED, [replace(slice_of("10.244.1.5"), ports=())], True),
        (NAMED, [slice_of("10.244.1.5", ports=(EndpointPort(port=80, name="http", protocol="UDP"),))], True),
        (NAMED, [replace(slice_of("10.244.1.5"), ports=()), slice_of("10.244.1.6", name="web-2")], False),
        (NAMED, [replace(slice_of(), ports=())], False),  # no pod is selected: nothing is known of their ports
        (service(), [replace(slice_of("10.244.1.5"), ports=())], False),
    ],
)
def test_a_named_port_that_no_pod_has(subject: Any, slices: list[Any], said: bool) -> None:
    """A targetPort by name that none of the selected pods has leaves its port without endpoint."""
    words = 'Service ns/web port 80/TCP has no endpoint: no selected pod has a TCP port named "web"'

    assert ([words] if said else []) == list(remarks(LAB, [subject], slices))
