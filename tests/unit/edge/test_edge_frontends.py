from __future__ import annotations

import pytest

from netlab.api.cluster import Node, NodeAddress, NodeStatus
from netlab.api.meta import ObjectMeta
from netlab.api.services import (
    ClientIPConfig,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)
from netlab.edge.frontends import (
    Backend,
    Check,
    CheckKind,
    Frontend,
    backends,
    frontends,
    load_balancer_addresses,
    offered,
    unserved,
    usable,
)
from netlab.family import Family

TCP = ServicePort(port=80, node_port=30080)
UDP = ServicePort(port=53, node_port=30053, protocol="UDP")
NODE = Backend("node1", "172.30.1.1")


def service(name: str = "blue", *ports: ServicePort, ips=("198.51.100.1",), ip_mode="", **spec) -> Service:
    ingress = tuple(LoadBalancerIngress(ip=ip, ip_mode=ip_mode) for ip in ips)
    status = ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress))
    return Service(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=ServiceSpec(**{"type": "LoadBalancer", "ports": ports or (TCP,), **spec}),
        status=status,
    )


def affinity(seconds: int) -> SessionAffinityConfig:
    return SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=seconds))


BLUE = Frontend("default", "blue", "tcp", 80, 30080, ("198.51.100.1",))
OFFERS = [
    ("a port", [service()], ["blue tcp 80 -> 30080 at 198.51.100.1"]),
    ("two protocols", [service("dns", TCP, UDP)], ["dns tcp 80 -> 30080 at 198.51.100.1", "dns udp 53 -> 30053 at 198.51.100.1"]),
    ("4.10 another class", [service(load_balancer_class="x/y")], []),
    ("4.10 no node ports", [service("blue", ServicePort(port=80))], ["blue tcp 80 -> 0 at 198.51.100.1"]),
    ("4.10, 4.11 no node ports, ipMode Proxy", [service("blue", ServicePort(port=80), ip_mode="Proxy")], []),
    ("4.11 ipMode Proxy", [service(ip_mode="Proxy")], ["blue tcp 80 -> 30080 at 198.51.100.1"]),
    ("no address yet", [service(ips=())], []),
    ("a host name for an address", [service(ips=("",))], []),
    ("NodePort keeps a stale status", [service(type="NodePort")], []),
    (
        "the first by name has the port",
        [service("b"), service("a", TCP)],
        ["a tcp 80 -> 30080 at 198.51.100.1"],
    ),
]


@pytest.mark.parametrize(("why", "services", "expected"), OFFERS, ids=[row[0] for row in OFFERS])
def test_edge_offers(why, services, expected):
    """Ports with an address are offered where nodes take them: by node port, or by the address."""
    found = frontends(services, Family.IPV4)
    offered = [f"{f.service} {f.protocol} {f.port} -> {f.node_port} at {' '.join(f.addresses)}" for f in found]

    assert expected == offered, why


CHECKS = [
    ("Cluster, TCP", service(), Check(CheckKind.TCP, "172.30.1.1", 30080)),
    ("Cluster, UDP", service("dns", UDP), Check(CheckKind.HTTP, "172.30.1.1", 10256)),
    (
        "6.15 Local",
        service(external_traffic_policy="Local", health_check_node_port=32000),
        Check(CheckKind.HTTP, "172.30.1.1", 32000),
    ),
    ("4.10 no node port", service("blue", ServicePort(port=80)), Check(CheckKind.HTTP, "172.30.1.1", 10256)),
    ("port of a policy that was", service(health_check_node_port=32000), Check(CheckKind.TCP, "172.30.1.1", 30080)),
]


@pytest.mark.parametrize(("why", "balanced", "expected"), CHECKS, ids=[row[0] for row in CHECKS])
def test_edge_check_of_a_node(why, balanced, expected):
    """The policy and the protocol decide what a node is asked."""
    assert expected == frontends([balanced], Family.IPV4)[0].check(NODE), why


RANGES = [
    ((), ()),
    (("203.0.113.0/24",), ("203.0.113.0/24",)),
    (("203.0.113.0/24", "203.0.113.128/25"), ("203.0.113.0/24",)),
    (("203.0.113.7/24",), ("203.0.113.0/24",)),
    (("192.0.2.1/32", "0.0.0.0/0"), ()),
]


@pytest.mark.parametrize(("given", "expected"), RANGES)
def test_edge_source_ranges(given, expected):
    """Overlapping ranges become one, and everybody is no restriction."""
    assert expected == frontends([service(load_balancer_source_ranges=given)], Family.IPV4)[0].source_ranges


def test_edge_affinity():
    """ClientIP affinity has the Service's timeout (semantics 4.18)."""
    assert 10800 == frontends([service(session_affinity="ClientIP")], Family.IPV4)[0].affinity_timeout


def test_edge_unserved():
    """A Service is told why nothing is forwarded: ipMode Proxy without node ports."""
    given = [
        service(),
        service("b", TCP, ServicePort(port=81), ip_mode="Proxy"),
        service("c", ServicePort(port=82), ips=()),
        service("d", ServicePort(port=83)),
    ]
    told = [message for _, message in unserved(given, {}, Family.IPV4)]

    assert [True] == [message.startswith("Port 81 has no node port") for message in told]


def test_edge_addresses():
    """All addresses of a Service of ours are the edge's."""
    assert ("198.51.100.1", "198.51.100.2") == load_balancer_addresses(service(ips=("198.51.100.1", "198.51.100.2")), Family.IPV4)


def test_edge_backends():
    """Nodes with an address that are not on their way out, by name."""

    def node(name: str, address: str, **meta) -> Node:
        status = NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),) if address else ())
        return Node(metadata=ObjectMeta(name=name, **meta), status=status)

    nodes = [
        node("node2", "172.30.1.2"),
        node("node1", "172.30.1.1"),
        node("new", ""),
        node("old", "172.30.1.3", deletion_timestamp="t"),
    ]

    assert (NODE, Backend("node2", "172.30.1.2")) == backends(nodes, Family.IPV4)


END = "172.30.1.1 }\nflush ruleset\nadd element ip netlab-edge node-addresses { 172.30.1.99"
BAD_SERVICES = [
    ("an address", {"ips": (END,)}),
    ("a loopback address", {"ips": ("127.0.0.1",)}),
    ("a range", {"load_balancer_source_ranges": (END,)}),
    ("a node port", {"ports": (ServicePort(port=80, node_port=80_000),)}),
    ("a protocol", {"ports": (ServicePort(port=80, node_port=30080, protocol="TCP drop"),)}),
    ("a timeout", {"session_affinity": "ClientIP", "session_affinity_config": affinity(10**30)}),
    ("a health port", {"external_traffic_policy": "Local", "health_check_node_port": -1}),
]


@pytest.mark.parametrize(("what", "fields"), BAD_SERVICES)
def test_edge_bad_service_is_left_out_alone(what, fields):
    """It has no frontend and no address, the error names it, and an event tells; the others are offered (B1)."""
    ports = fields.get("ports", ())
    bad = service("bad", *ports, **{key: value for key, value in fields.items() if key != "ports"})
    found = offered([service("a"), bad, service("z", ips=("198.51.100.9",))], Family.IPV4)
    told = [told.metadata.name for told, _ in unserved([service("a"), bad], found.refused, Family.IPV4)]

    assert (["a", "z"], {"service default/bad"}) == ([f.service for f in found.frontends], set(found.refused)), what
    assert {"198.51.100.1", "198.51.100.9"} == found.addresses
    assert ["bad"] == told


@pytest.mark.parametrize(("name", "address"), [("bad", END), ("bad", "0.0.0.0"), ("bad }\nflush ruleset", "172.30.1.9")])
def test_edge_bad_node_is_left_out_alone(name: str, address: str):
    """A node with what is no address, or no name, gets no traffic; the others do (B1)."""

    def node(name: str, address: str) -> Node:
        return Node(
            metadata=ObjectMeta(name=name), status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address=address),))
        )

    found = usable([node(name, address), node("node1", "172.30.1.1")], Family.IPV4)

    assert ((NODE,), {f"node {name}"}) == (found.backends, set(found.refused))
