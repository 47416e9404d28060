"""Compilers write the rules of either family from the same code."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from familytables import (
    BALANCER,
    CLIENT,
    EDGE,
    EMPTY_SERVICE,
    FLANNEL,
    LOCAL,
    NODE,
    OBJECTS,
    OTHER_NODE,
    PROXY,
    REMOTE,
    SERVICE,
    STRANGER,
    TABLES,
)

from netlab.api import lab
from netlab.api.cluster import Node, NodeAddress, NodeSpec, NodeStatus
from netlab.api.meta import ObjectMeta
from netlab.dataplane import fabric
from netlab.dataplane.bridge import cni_bridge
from netlab.dataplane.diff import diff
from netlab.dataplane.pod import Sandbox, node_neighbour, pod_state
from netlab.dataplane.state import (
    Address,
    ForwardingEntry,
    Link,
    NamespaceState,
    Neighbour,
    Route,
    Rule,
    Vxlan,
)
from netlab.edge.frontends import Backend, offered
from netlab.edge.programming import loopback_state
from netlab.edge.steering import steering_state
from netlab.family import FAMILIES, Family
from netlab.netfilter.language import Packet
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import render
from netlab.netfilter.trace import Host, trace
from netlab.netfilter.vetting import vet
from netlab.overlay.vxlan import VxlanLease, overlay
from netlab.probe.plan.names import questions
from netlab.probe.plan.plan import plan
from netlab.probe.plan.snapshot import Snapshot
from netlab.proxy.servicemap import build

IPV4_ONLY = re.compile(r"\bip (table|[sd]addr)|ipv4_addr|\d+\.\d+\.\d+\.\d+|\btable ip ")


@pytest.mark.parametrize("family", FAMILIES)
def test_facts_of_a_family_agree(family: Family) -> None:
    """All prefixes of a family parse as that family, and its words match its addresses."""
    network = ip_network(family.loopback)
    address = str(network.network_address + 1 - int(network.prefixlen == family.bits))

    assert all(Family.of(text) is family for text in (family.any, family.multicast, address))
    assert re.fullmatch(f"{family.characters}+", address)
    assert family.network(family.host(address)).num_addresses == 1
    assert ip_address(address).max_prefixlen == family.bits


@pytest.mark.parametrize("ruleset", TABLES, ids=lambda ruleset: ruleset.table)
def test_ipv6_table_has_nothing_of_ipv4(ruleset: Ruleset) -> None:
    """A compiler called with Family.IPV6 writes an `ip6` table that the last gate before nft lets through."""
    text = render(ruleset)

    assert text.startswith(f"add table ip6 {ruleset.table}")
    assert [] == IPV4_ONLY.findall(text)
    assert {} == vet(ruleset, {})[1]


def test_sets_and_translation_are_of_ipv6() -> None:
    """Sets have the type `ipv6_addr`, and an address with a port is in brackets."""
    assert f"dnat to [{LOCAL}]:8080" in render(PROXY)
    assert f"dnat to [{OTHER_NODE}]:30080" in render(EDGE)
    for table in (PROXY, EDGE):
        assert "type ipv6_addr . inet_proto . inet_service : verdict" in render(table)
        assert "type ipv6_addr; flags dynamic,timeout; timeout 10800s" in render(table)
    assert "ip6 daddr != ff00::/8 masquerade" in render(FLANNEL)


NOBODY_KNOWN = {name: frozenset[str]() for table in TABLES for name in table.sets}
WAYS = [
    (
        "ClusterIP",
        (PROXY, FLANNEL),
        REMOTE,
        SERVICE,
        80,
        {f"{LOCAL}:8080", f"{REMOTE}:8080 masqueraded"},
    ),
    ("node port, Local", (PROXY,), CLIENT, NODE, 30080, {f"{LOCAL}:8080"}),
    ("outside the source ranges", (PROXY,), STRANGER, BALANCER, 80, {"drop"}),
    ("no endpoint", (PROXY,), LOCAL, EMPTY_SERVICE, 53, {"reject"}),
    ("load balancer", (EDGE,), CLIENT, BALANCER, 80, {f"{NODE}:30080", f"{OTHER_NODE}:30080"}),
    ("source ranges at the edge", (EDGE,), STRANGER, BALANCER, 80, {"drop"}),
    ("pod to outside", (FLANNEL,), LOCAL, CLIENT, 443, {f"{CLIENT}:443 masqueraded"}),
    ("own loopback", (PROXY,), "::1", "::1", 80, {"::1:80"}),
]


@pytest.mark.parametrize(("what", "tables", "source", "destination", "port", "expected"), WAYS)
def test_ipv6_packet_takes_the_same_way(what, tables, source, destination, port, expected) -> None:
    """The rules of IPv6 mean what those of IPv4 mean."""
    protocol = "udp" if port == 53 else "tcp"
    outcomes = trace(tables, Packet(source, protocol, destination, port), Host(frozenset({NODE}), NOBODY_KNOWN))

    assert expected == {str(outcome) for outcome in outcomes}, what


def test_objects_of_another_family_are_left_out() -> None:
    """A proxy serves the Services of its family; a load balancer refuses addresses of another."""
    assert {} == build(*OBJECTS, Family.IPV4)
    assert ["service ns/web"] == list(offered(OBJECTS[0], Family.IPV4).refused)


def test_ipv6_overlay() -> None:
    """flannel-v6.1 and three entries per node: the header of IPv6 costs 20 bytes more."""
    local = VxlanLease("node1", "fd00:244:1::/64", NODE, "02:00:00:00:00:01")
    remote = VxlanLease("node2", "fd00:244:2::/64", OTHER_NODE, "02:00:00:00:00:02")
    found = overlay("lab", local, [remote], pods="fd00:244::/32")
    state, device = found.state.whole, "flannel-v6.1"

    assert () == found.ignored
    assert [(device, Vxlan(1, 8472, NODE, "eth0"), 1430)] == [(x.name, x.kind, x.mtu) for x in state.links]
    assert (Address(device, "fd00:244:1::/128"),) == state.addresses
    assert (Neighbour(device, "fd00:244:2::", "02:00:00:00:00:02"),) == state.neighbours
    assert (ForwardingEntry(device, "02:00:00:00:00:02", OTHER_NODE),) == state.forwarding
    assert (Route("fd00:244:2::/64", device, "fd00:244:2::", onlink=True),) == state.routes


# ---- links and routes: the family follows from the addresses
def test_ipv6_pod_and_bridge() -> None:
    """Gateway, default route and the setting for routing are of the family of the node's subnet."""
    sandbox = Sandbox(
        "lab",
        "ns",
        "a",
        "uid",
        "/run/netns/a",
        "fd00:244:1::2/64",
        "fd00:244:1::1",
        "fd00:244::/32",
    )
    state, bridge = pod_state(sandbox), cni_bridge("lab", "fd00:244:1::/64")

    assert {"::/0", "fd00:244::/32"} == {route.destination for route in state.routes}
    assert (Address("cni0", "fd00:244:1::1/64"),) == bridge.addresses
    assert {"net/ipv6/conf/all/forwarding": "1"} == bridge.sysctls
    assert Neighbour("cni0", "fd00:244:1::2", "0a:58:00:00:00:02") == node_neighbour(sandbox.address)


def test_ipv6_host_and_its_repair() -> None:
    """A host has a default route of its gateway's family; the lost route of an address comes back."""
    host = fabric.Host("node1", fabric.Role.NODE, "/run/netns/n", "fd00:172::1:1/64", gateway="fd00:172::1")
    state = fabric.host_state("lab", host)
    route = Route("::/0", "eth0", gateway="fd00:172::1")
    observed = NamespaceState(
        links=tuple(Link(x.name, None, x.mac, x.mtu, alias=x.alias) for x in state.links),
        addresses=(*state.addresses, Address("lo", "::1/128")),
        sysctls=state.sysctls,
        connected=(),
    )

    assert (route,) == state.routes
    assert [
        "ip route replace fd00:172::/64 dev eth0 src fd00:172::1:1 proto kernel scope link",
        "ip route replace ::/0 via fd00:172::1 dev eth0",
    ] == [str(operation) for operation in diff(state, observed, lambda _: True)]


def test_ipv6_edge_steers_and_owns_its_addresses() -> None:
    """A node on a subnet of the edge has a default route of its own; `lo` holds addresses of one host."""
    observed = NamespaceState(connected=(Route("fd00:172::/64", "eth0"),))
    steering = steering_state([Backend("node1", "fd00:172::101")], observed)

    assert (Route("::/0", "eth0", gateway="fd00:172::101", table=10257),) == steering.routes
    assert Rule(100, 10257, 0x1010000, 0xFFFF0000) in (steering.rules or ())
    held = loopback_state([BALANCER], Family.IPV6).addresses
    assert (Address("lo", "::1/128"), Address("lo", f"{BALANCER}/128")) == held


# ---- the plan of a test
NETWORKING = lab.Networking(
    pod_subnet="fd00:244::/32",
    service_subnet="fd00:96::/112",
    node_subnet="fd00:172::/64",
    outside_subnet="2001:db8:113::/64",
)


def node(number: int) -> Node:
    """Return node `number` with addresses of IPv6."""
    return Node(
        metadata=ObjectMeta(name=f"node{number}"),
        spec=NodeSpec(pod_cidr=f"fd00:244:{number}::/64"),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=f"fd00:172::{number}"),)),
    )


SNAPSHOT = Snapshot(
    name="lab",
    lab=lab.Lab(
        metadata=ObjectMeta(name="lab"),
        spec=lab.LabSpec(networking=NETWORKING, clients=(lab.LabClient(name="client"),)),
    ),
    nodes=(node(1), node(2)),
    services=tuple(OBJECTS[0]),
    slices=tuple(OBJECTS[1]),
    family=Family.IPV6,
)


def test_plan_of_ipv6() -> None:
    """Places, endpoints, expected sources and the types of DNS records are of the family."""
    checks = plan(SNAPSHOT)
    web = SNAPSHOT.services[0]
    asked = [(q.type, q.answers) for q in questions(SNAPSHOT, web) if q.type in {"A", "AAAA"}]

    assert {"fd00:172::1", "fd00:172::2", "2001:db8:113::a"} == {check.source.address for check in checks}
    assert [LOCAL, REMOTE] == [b.address for b in SNAPSHOT.backends(web, web.spec.ports[0])]
    assert ("fd00:244:1::1", "fd00:244:1::") == (
        SNAPSHOT.addresses["node1"].gateway,
        SNAPSHOT.addresses["node1"].overlay,
    )
    assert [("AAAA", {f"AAAA {SERVICE}"}), ("A", set())] == asked
    assert any(check.path.startswith("outside-load-balancer") for check in checks)


def test_plan_of_one_family_has_nothing_of_the_other() -> None:
    """Nodes and endpoints with addresses of the other family are no places."""
    other = replace(SNAPSHOT, family=Family.IPV4, lab=lab.Lab())

    assert ((), {}) == (other.node_places, other.addresses)
    assert () == other.backends(other.services[0], other.services[0].spec.ports[0])
