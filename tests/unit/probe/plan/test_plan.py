"""Which checks follow from which objects."""

from __future__ import annotations

from collections import Counter

import pytest

from netlab.probe.plan import fake
from netlab.probe.plan.checks import Ask, Kind, Place, Talk
from netlab.probe.plan.choose import by_node, pod_pairs
from netlab.probe.plan.plan import choices, plan
from netlab.probe.report import record

A1, B1 = "10.244.1.2", "10.244.2.2"


def planned(*services, slices=(), **changes):
    return plan(fake.snapshot(fake.cluster(services=services, slices=slices, **changes)))


def with_dns(service, slices=(), hosts=""):
    dns = fake.dns(hosts)
    return planned(*dns["services"], service, slices=slices, configmaps=dns["configmaps"])


def paths(checks):
    return Counter(c.path for c in checks)


def test_bare_cluster():
    """Three pods on two nodes and a client: all pairs, all protocols, both directions, the MTU boundary."""
    assert {
        "pod-pod-same-node": 2 * 3, "pod-pod-cross-node": 4 * 3, "pod-own-node": 3 * 3, "pod-other-node": 3 * 3,
        "node-pod-local": 3 * 3, "node-pod-remote": 3 * 3, "node-node": 2 * 2, "pod-outside": 2 * 3 + 1, "node-outside": 2,
        "outside-node": 2, "outside-pod": 1, "mtu-same-node": 2, "mtu-cross-node": 4,
        "dns-node-resolver": 4, "dns-outside-resolver": 2,
    } == paths(planned())  # fmt: skip


def test_ids_are_unique():
    """No two checks have the same id."""
    service = fake.service("web", type="LoadBalancer", clusterIP="10.96.0.5", ingress="198.51.100.1",
                           ports=[{"port": 80, "nodePort": 30080}])  # fmt: skip
    checks = with_dns(service, [fake.endpoints("web", [A1, B1])])

    assert len(checks) == len({c.id for c in checks})


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {"pod-cluster-ip": 3, "node-cluster-ip": 2, "hairpin": 2}),
        ({"sessionAffinity": "ClientIP"}, {"pod-cluster-ip": 3, "node-cluster-ip": 2}),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
            {"pod-cluster-ip": 3, "node-cluster-ip": 2, "hairpin": 2,
             "outside-node-port": 2, "pod-node-port": 4, "node-node-port": 4},
        ),
        (
            {"type": "LoadBalancer", "ports": [{"port": 80}], "ingress": "198.51.100.1"},
            {"pod-cluster-ip": 3, "node-cluster-ip": 2, "hairpin": 2, "outside-load-balancer": 1,
             "pod-load-balancer": 2, "node-load-balancer": 2},
        ),
        (
            {"externalIPs": ["192.0.2.9"]},
            {"pod-cluster-ip": 3, "node-cluster-ip": 2, "hairpin": 2, "pod-external-ip": 2, "node-external-ip": 2},
        ),
        (
            {"externalIPs": ["172.30.1.1"]},
            {"pod-cluster-ip": 3, "node-cluster-ip": 2, "hairpin": 2,
             "outside-external-ip": 1, "pod-external-ip": 2, "node-external-ip": 2},
        ),
        ({"clusterIP": "None"}, {"pod-headless": 4}),
        ({"type": "ExternalName", "clusterIP": "", "externalName": "example.org"}, {}),
    ],
)  # fmt: skip
def test_ways_into_a_service(spec, expected):
    """Each type of Service brings its ways in, and nothing else."""
    service = fake.service("web", **{"clusterIP": "10.96.0.5", **spec})
    checks = planned(service, slices=[fake.endpoints("web", [A1, B1])])

    assert expected == paths(c for c in checks if c.subject and not c.path.endswith("unused-port"))


@pytest.mark.parametrize(("address", "path", "count"), [("10.96.0.5", "hairpin", 1), ("None", "pod-headless", 2)])
def test_an_endpoint_that_is_not_ready(address, path, count):
    """It is not expected to reach itself, nor to be reached without a proxy."""
    checks = planned(fake.service("web", clusterIP=address), slices=[fake.endpoints("web", [A1, "!" + B1])])

    assert count == paths(checks)[path]


@pytest.mark.parametrize(("mode", "count"), [("VIP", 2), ("Proxy", 0)])
def test_an_address_that_nothing_captures(mode, count):
    """A load balancer address of ipMode Proxy is no way in from inside (semantics 4.11)."""
    service = fake.service("web", type="LoadBalancer", clusterIP="10.96.0.5", ingress="198.51.100.1")
    service["status"]["loadBalancer"]["ingress"][0]["ipMode"] = mode

    assert count == paths(planned(service, slices=[fake.endpoints("web", [A1])]))["pod-load-balancer"]


def test_an_external_address_of_a_node_is_caught_by_the_sender_s():
    """Whoever has the address, a pod's own node sends the packet on, and so it is that node that masquerades it."""
    service = fake.service("web", clusterIP="10.96.0.5", externalIPs=["172.30.1.1"])
    checks = planned(service, slices=[fake.endpoints("web", [A1])])
    seen = {c.source.name: set().union(*c.expectation.sources.values()) for c in checks if c.path == "pod-external-ip"}

    assert {"default/a1": {"10.244.1.1"}, "default/b1": {"10.244.2.0"}} == seen


def test_an_external_address_of_two_services_is_tested_for_its_owner():
    """What does not lead to a Service is no failure of it; the record says so instead (semantics 4.12)."""
    spec = {"externalIPs": ["192.0.2.9"]}
    services = [fake.service(name, clusterIP=f"10.96.0.{number}", **spec) for number, name in ((5, "b"), (6, "a"))]
    objects = fake.cluster(services=services, slices=[fake.endpoints(name, [A1, B1]) for name in "ab"])
    snapshot = fake.snapshot(objects)
    subjects = {c.subject for c in plan(snapshot) if c.path == "pod-external-ip"}
    made = record.make(snapshot, [], record.Circumstances())

    assert {"default/a"} == subjects
    assert ["Service default/b is not served at 192.0.2.9 port 80/TCP: Service default/a has that address and port"] == (
        made["remarks"]
    )


def test_a_node_port_is_tried_at_the_node():
    """The connection goes to the node's address and the node port, and the id names both."""
    service = fake.service("web", type="NodePort", clusterIP="10.96.0.5", ports=[{"port": 80, "nodePort": 30080}])
    found = [c for c in planned(service, slices=[fake.endpoints("web", [A1, B1])]) if c.path == "outside-node-port"]

    assert [
        ("default/web:80@node1:30080", "172.30.1.1", 30080),
        ("default/web:80@node2:30080", "172.30.1.2", 30080),
    ] == [(c.target, c.action.address, c.action.port) for c in found]


def test_by_name_needs_dns():
    """By DNS name a Service is tried from one pod per node and from every node, when there is a DNS Service."""
    checks = with_dns(fake.service("web", clusterIP="10.96.0.5"), [fake.endpoints("web", [A1])])
    count = paths(checks)

    assert (2, 2) == (count["pod-cluster-ip-by-name"], count["node-cluster-ip-by-name"])


@pytest.mark.parametrize(
    ("service", "slices", "expected"),
    [
        (
            fake.service("web", clusterIP="10.96.0.5", ports=[{"port": 80, "name": "http"}]), [],
            {
                ("web.default.svc.cluster.local.", "A", ("A 10.96.0.5",), "NOERROR"),
                ("web.default.svc.cluster.local.", "AAAA", (), "NOERROR"),
                ("5.0.96.10.in-addr.arpa.", "PTR", ("PTR web.default.svc.cluster.local.",), "NOERROR"),
                ("_http._tcp.web.default.svc.cluster.local.", "SRV", ("SRV 80 web.default.svc.cluster.local.",), "NOERROR"),
            },
        ),
        (
            fake.service("web", clusterIP="None"), [fake.endpoints("web", [A1, "!" + B1])],
            {
                ("web.default.svc.cluster.local.", "A", ("A 10.244.1.2",), "NOERROR"),
                ("web.default.svc.cluster.local.", "AAAA", (), "NOERROR"),
                ("10-244-1-2.web.default.svc.cluster.local.", "A", ("A 10.244.1.2",), "NOERROR"),
                ("2.1.244.10.in-addr.arpa.", "PTR", ("PTR 10-244-1-2.web.default.svc.cluster.local.",), "NOERROR"),
            },
        ),
        (
            fake.service("web", clusterIP="None"), [],
            {
                ("web.default.svc.cluster.local.", "A", (), "NXDOMAIN"),
                ("web.default.svc.cluster.local.", "AAAA", (), "NXDOMAIN"),
            },
        ),
        (
            fake.service("web", type="ExternalName", externalName="db.example"), [],
            {("web.default.svc.cluster.local.", "A", ("A 203.0.113.10", "CNAME db.example."), "NOERROR")},
        ),
        (
            fake.service("web", type="ExternalName", externalName="192.0.2.1"), [],
            {("web.default.svc.cluster.local.", "A", (), "NXDOMAIN")},
        ),
    ],
    ids=["ClusterIP", "headless", "headless, empty", "ExternalName", "ExternalName that is an address"],
)  # fmt: skip
def test_names_of_a_service(service, slices, expected):
    """Each type of Service brings the names that DNS must know, with their records (semantics 11)."""
    checks = with_dns(service, slices, hosts="203.0.113.10 db.example")
    mine = [c for c in checks if c.subject == "default/web" and isinstance(c.action, Ask)]

    assert expected == {
        (c.action.name, c.action.type, tuple(sorted(c.expectation.answers)), c.expectation.response_codes[0]) for c in mine
    }
    assert {"node1", "node2", "default/a1", "default/b1"} == {c.source.name for c in mine}


UNKNOWN = ("kubernetes.default.svc.cluster.local.", "NXDOMAIN", ())


@pytest.mark.parametrize(("dns", "expected"), [({}, {UNKNOWN}), ({"upstream": ["203.0.113.10"]}, set())])
def test_resolvers_of_hosts_know_no_service(dns, expected):
    """11.21: nodes and clients are asked for a host and for a Service; an upstream may know any name."""
    lab = fake.lab()
    lab["spec"]["dns"] = dns
    checks = planned(labs=[lab], configmaps=fake.dns("203.0.113.10 db.example")["configmaps"])
    asked = {
        (c.source.name, c.action.name, c.expectation.response_codes[0], tuple(c.expectation.answers))
        for c in checks
        if c.path.endswith("-resolver")
    }

    known = {("db.example.", "NOERROR", ("A 203.0.113.10",)), *expected}
    assert {(host, *question) for host in ("node1", "node2", "client") for question in known} == asked


@pytest.mark.parametrize(("policy", "searches"), [("Default", False), ("None", False), ("ClusterFirstWithHostNet", True)])
def test_short_names_are_looked_up(policy, searches):
    """11.21: pods with the cluster's search list look Services up by their short names; other pods and nodes do not."""
    pods = [fake.pod("a1", A1), {**fake.pod("b1", B1)}]
    pods[1]["spec"]["dnsPolicy"] = policy
    dns = fake.dns()
    checks = planned(*dns["services"], fake.service("web", clusterIP="10.96.0.5"), configmaps=dns["configmaps"], pods=pods)
    names = {(c.source.name, c.action.name) for c in checks if c.path == "dns-search" and c.subject == "default/web"}

    askers = ("default/a1", "default/b1") if searches else ("default/a1",)
    assert {(pod, name) for pod in askers for name in ("web", "web.default", "web.default.svc")} == names


def test_addresses_and_ports_nobody_has():
    """A port that a Service lacks is refused where its address is ruled; an address that no Service has is dropped there."""
    ports = [{"port": 1, "nodePort": 30080}, {"port": 2, "nodePort": 30081}]
    service = fake.service("web", type="LoadBalancer", clusterIP="10.96.0.5", ingress="198.51.100.1", ports=ports)
    checks = [c for c in planned(service, slices=[fake.endpoints("web", [A1])]) if "unused" in c.path or "unassigned" in c.path]

    found = {(c.path, paths(checks)[c.path], c.action.address, c.action.port) for c in checks}
    assert found == {
        ("node-cluster-ip-unused-port", 2, "10.96.0.5", 3), ("pod-cluster-ip-unused-port", 2, "10.96.0.5", 3),
        ("outside-load-balancer-unused-port", 1, "198.51.100.1", 3),
        ("node-unassigned-cluster-ip", 2, "10.96.255.254", 80), ("pod-unassigned-cluster-ip", 2, "10.96.255.254", 80),
    }  # fmt: skip
    assert {("node1", "node1"), ("default/a1", "node1"), ("client", "edge")} <= {
        (c.source.name, c.expectation.ends) for c in checks
    }


def test_every_node_of_a_load_balancer_is_awaited():
    """A client connects until every node that serves has been chosen; under Local only those with an endpoint serve."""
    for policy, nodes in (("Cluster", {"node1", "node2"}), ("Local", {"node1"})):
        service = fake.service("web", type="LoadBalancer", clusterIP="10.96.0.5", ingress="198.51.100.1",
                               externalTrafficPolicy=policy, ports=[{"port": 80, "nodePort": 30080}])  # fmt: skip
        checks = planned(service, slices=[fake.endpoints("web", [A1])])

        assert [nodes] == [c.expectation.nodes for c in checks if c.path == "outside-load-balancer"]


def test_external_name_of_a_client_is_connected():
    """When an ExternalName's target is a host of the lab, pods connect to it by the Service's name."""
    service = fake.service("db", type="ExternalName", externalName="db.example")

    assert 2 == paths(with_dns(service, hosts="203.0.113.10 db.example"))["pod-external-name"]


@pytest.mark.parametrize(
    ("image", "protocol", "talk"),
    [
        ("nginx", "TCP", Talk.HTTP),
        ("jpetazzo/color:1", "TCP", Talk.HTTP),
        ("registry.k8s.io/pause:3.9", "TCP", Talk.SILENT),
        ("example/own", "TCP", Talk.SILENT),
        ("nginx", "UDP", Talk.SILENT),
    ],
)
def test_how_to_speak_to_a_workload(image, protocol, talk):
    """Only a workload known to understand HTTP is spoken to in HTTP."""
    service = fake.service("web", clusterIP="10.96.0.5", ports=[{"port": 80, "protocol": protocol}])
    slices = [fake.endpoints("web", [A1], protocol=protocol)]
    checks = planned(service, slices=slices, pods=[fake.pod("a1", A1, image=image)])

    assert {talk} == {c.action.talk for c in checks if c.path == "pod-cluster-ip"}


def test_session_affinity_is_sticky():
    """Under session affinity one backend must answer all, so not every backend is awaited."""
    service = fake.service("web", clusterIP="10.96.0.5", sessionAffinity="ClientIP")
    checks = planned(service, slices=[fake.endpoints("web", [A1, B1])])

    assert {(True, False)} == {(c.expectation.sticky, c.expectation.every) for c in checks if c.path == "pod-cluster-ip"}


@pytest.mark.parametrize(("nodes", "per_node"), [(3, 5), (20, 50), (5, 3), (2, 30), (1, 40)])
def test_many_pods(nodes, per_node):
    """Beyond 12 pods every pod is a source and a target, every pair of nodes is crossed, and the pairs stay few."""
    pods = [Place(Kind.POD, f"p{n}-{i}", "", f"10.244.{n}.{i + 2}", f"node{n:02}") for n in range(nodes) for i in range(per_node)]
    pairs = pod_pairs(pods)
    cross = [(a, b) for a, b in pairs if a.node != b.node]

    assert {p.name for p in pods} == {a.name for a, _ in pairs} == {b.name for _, b in pairs}
    assert {(a, b) for a in by_node(pods) for b in by_node(pods) if a != b} == {(a.node, b.node) for a, b in cross}
    assert len(pairs) <= 3 * len(pods) + nodes * nodes


def test_choices_are_counted():
    """The record says how many pairs were chosen out of how many."""
    pods = [fake.pod(f"p{n}-{i}", f"10.244.{n}.{i}") for n in (1, 2) for i in range(2, 22)]
    found = {c.path: (c.chosen, c.possible) for c in choices(fake.snapshot(fake.cluster(pods=pods)))}

    assert (40, 760) == found["pod-pod-same-node"]
    assert (40, 800) == found["pod-pod-cross-node"]
