"""The address plan of docs/architecture.md and host-local's round robin (semantics 3.27, 3.28)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netlab.api.lab import Networking
from netlab.errors import InvalidTopologyError
from netlab.family import Family
from netlab.ipam import AddressPlan, exhausted, gateway, next_address

PLAN = AddressPlan(Networking(), "198.51.100.0/30")
IPV6 = AddressPlan(
    Networking(
        pod_subnet="fd00:244::/48",
        service_subnet="fd00:96::/112",
        node_subnet="fd00:172::/64",
        outside_subnet="2001:db8:113::/64",
    ),
    "2001:db8:100::/126",
    Family.IPV6,
)
NARROW = AddressPlan(Networking(node_subnet="192.168.7.0/24", pod_subnet="10.244.0.0/22"))


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (PLAN.edge_underlay, "172.30.0.1"),
        (PLAN.api_server, "172.30.0.2"),
        (PLAN.node(1), "172.30.1.1"),
        (PLAN.node(300), "172.30.2.44"),
        (PLAN.node_prefix, 16),
        (NARROW.node(1), "192.168.7.11"),
        (PLAN.pod_cidr(1), "10.244.1.0/24"),
        (PLAN.pod_cidr(255), "10.244.255.0/24"),
        (PLAN.edge_outside, "203.0.113.1"),
        (PLAN.client(1), "203.0.113.10"),
        (PLAN.outside_prefix, 24),
        (PLAN.kubernetes_service, "10.96.0.1"),
        (PLAN.dns_service, "10.96.0.10"),
        (list(PLAN.load_balancer_addresses()), ["198.51.100.1", "198.51.100.2"]),
        (list(NARROW.load_balancer_addresses()), []),
        (PLAN.node_index("172.30.1.7"), 7),
        (PLAN.node_index("172.30.1.0"), None),
        (PLAN.node_index("172.30.0.2"), None),
        (PLAN.node_index("10.0.0.1"), None),
        (PLAN.node_index("not an address"), None),
        (gateway("10.244.1.0/24"), "10.244.1.1"),
        (IPV6.edge_underlay, "fd00:172::1"),
        (IPV6.node(1), "fd00:172::101"),
        (IPV6.node_index("fd00:172::101"), 1),
        (IPV6.node_index("172.30.1.1"), None),
        (IPV6.pod_cidr(1), "fd00:244:0:1::/64"),
        (IPV6.client(1), "2001:db8:113::a"),
        (IPV6.dns_service, "fd00:96::a"),
        (list(IPV6.load_balancer_addresses())[:2], ["2001:db8:100::1", "2001:db8:100::2"]),
        (gateway("fd00:244:0:1::/64"), "fd00:244:0:1::1"),
    ],
)
def test_plan(actual: object, expected: object) -> None:
    """Every address of a lab follows from its ranges."""
    assert expected == actual


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda: PLAN.pod_cidr(256), "podSubnet"),
        (lambda: PLAN.pod_cidr(0), "podSubnet"),
        (lambda: PLAN.pod_cidr(1 << 32), "podSubnet"),
        (lambda: IPV6.pod_cidr(1 << 16), "podSubnet"),
        (lambda: AddressPlan(Networking(), family=Family.IPV6).api_server, "no IPv6 network"),
        (lambda: NARROW.node(250), "nodeSubnet"),
        (lambda: PLAN.client(300), "outsideSubnet"),
        (lambda: AddressPlan(Networking(outside_subnet="203.0.113.0/28")).client(6), "outsideSubnet"),  # all bits: broadcast
        (lambda: AddressPlan(Networking(node_subnet="172.30.0.1/16")).api_server, "spec.networking.nodeSubnet"),
        (lambda: list(AddressPlan(Networking(), "somewhere").load_balancer_addresses()), "spec.loadBalancer.pool"),
    ],
)
def test_plan_refuses_what_does_not_fit(ask: Callable[[], object], field: str) -> None:
    """An address beyond its range is the user's file's fault, and the error names the field."""
    with pytest.raises(InvalidTopologyError) as caught:
        ask()

    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("cidr", "last", "in_use", "expected"),
    [
        ("10.244.1.0/24", None, set(), "10.244.1.2"),  # the gateway .1 is skipped
        ("10.244.1.0/24", "10.244.1.2", set(), "10.244.1.3"),  # a freed .2 is not re-used at once
        ("10.244.1.0/24", "10.244.1.2", {"10.244.1.3"}, "10.244.1.4"),
        ("10.244.1.0/24", "10.244.1.254", set(), "10.244.1.2"),  # wraps; broadcast and gateway never
        ("10.244.1.0/24", "10.244.9.9", set(), "10.244.1.2"),  # a record of another range is ignored
        ("10.244.1.0/29", "10.244.1.5", {"10.244.1.6", "10.244.1.2", "10.244.1.3", "10.244.1.4"}, "10.244.1.5"),
        ("10.244.1.0/24", "10.244.1.1", set(), "10.244.1.2"),  # a record of the gateway
        ("10.244.1.0/24", "10.244.1.255", set(), "10.244.1.2"),
        ("10.244.1.0/30", None, set(), "10.244.1.2"),
        ("10.244.1.0/31", None, set(), None),
        ("10.244.1.0/32", None, set(), None),
        ("fd00:244:0:1::/64", None, {"fd00:244:0:1::2"}, "fd00:244:0:1::3"),
        ("fd00:244:0:1::/126", "fd00:244:0:1::2", set(), "fd00:244:0:1::2"),
        ("fd00:244:0:1::/64", "10.244.1.2", set(), "fd00:244:0:1::2"),  # a record of another family
        ("10.244.1.0/29", None, {f"10.244.1.{n}" for n in range(2, 7)}, None),
    ],
)
def test_next_address(cidr: str, last: str | None, in_use: set[str], expected: str | None) -> None:
    """Pod addresses go round the range; none when all are taken."""
    actual = next_address(cidr, last, in_use)

    assert expected == actual


def test_next_address_walks_the_whole_range() -> None:
    """With everything freed at once, each address comes once before the first comes again."""
    last: str | None = None
    walked = []
    for _ in range(253):
        last = next_address("10.244.1.0/24", last, ())
        walked.append(last)
    again = next_address("10.244.1.0/24", last, ())

    assert [f"10.244.1.{n}" for n in range(2, 255)] == walked
    assert again == "10.244.1.2"


def test_exhausted() -> None:
    """The words are host-local's."""
    actual = exhausted("10.244.1.0/24")

    assert actual == "no IP addresses available in range set: 10.244.1.1-10.244.1.254"
