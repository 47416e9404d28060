"""What must come of an access, as rows: source, entry, policy -> outcome, backends and the sources they see."""

from __future__ import annotations

import pytest

from netlab.probe.plan import fake
from netlab.probe.plan.checks import Encapsulation, Kind, Place
from netlab.probe.plan.expectation import Access, Entry, direct, encapsulation, through_service
from netlab.probe.plan.outcome import Outcome

PORT = {"port": 80, "targetPort": 80, "nodePort": 30080}
A1, A2, B1 = "10.244.1.2", "10.244.1.3", "10.244.2.2"
CLIENT = "203.0.113.10"
LB = "198.51.100.1"


def made(endpoints=(A1, B1), pods=None, **spec):
    """Return a snapshot with Service `web`, and that Service."""
    web = fake.service("web", ports=[PORT], ingress=LB, clusterIP="10.96.0.5", **spec)
    changes = {"pods": pods} if pods else {}
    snapshot = fake.snapshot(fake.cluster(services=[web], slices=[fake.endpoints("web", endpoints)], **changes))
    return snapshot, snapshot.services[0]


def place(snapshot, name):
    everything = (*snapshot.pod_places, *snapshot.node_places, *snapshot.client_places, *snapshot.host_network_places)
    return next(p for p in everything if p.name == name)


def through(source, entry, via="", **made_of):
    snapshot, web = made(**made_of)
    access = Access(place(snapshot, source), web, web.spec.ports[0], entry, "", via)
    expected = through_service(snapshot, access)
    seen = {key.removesuffix(":80"): sorted(value) for key, value in expected.sources.items()}
    return expected.outcome, seen


@pytest.mark.parametrize(
    ("source", "target", "seen"),
    [
        ("default/a1", "default/a2", A1),
        ("default/a1", "default/b1", A1),
        ("default/a1", "node1", A1),
        ("default/a1", "node2", "172.30.1.1"),
        ("default/a1", "client", "172.30.1.1"),
        ("node1", "default/a1", "10.244.1.1"),
        ("node1", "default/b1", "10.244.1.0"),
        ("node1", "node2", "172.30.1.1"),
        ("client", "node1", CLIENT),
    ],
)
def test_direct_source(source, target, seen):
    """The address that a target sees of a source, without any Service (semantics 1.2, 1.4, 2.15, 2.31)."""
    snapshot, _ = made()
    expected = direct(snapshot, place(snapshot, source), place(snapshot, target))

    assert (Outcome.ALLOWED, {"": frozenset({seen})}) == (expected.outcome, expected.sources)


def test_outside_has_no_way_to_pods():
    """A client's packet to a pod address comes back as unreachable."""
    snapshot, _ = made()

    assert Outcome.UNREACHABLE is direct(snapshot, place(snapshot, "client"), place(snapshot, "default/a1")).outcome


@pytest.mark.parametrize(
    ("source", "target", "header"),
    [
        ("default/a1", "default/b1", Encapsulation("172.30.1.1", "172.30.1.2", 8472, 1)),
        ("node2", "default/a1", Encapsulation("172.30.1.2", "172.30.1.1", 8472, 1)),
        ("default/a1", "default/a2", Encapsulation()),
        ("default/a1", "node2", None),
        ("default/a1", "client", None),
    ],
)
def test_encapsulation(source, target, header):
    """Pods of other nodes are reached inside VXLAN between the nodes' addresses, pods of the same node are not."""
    snapshot, _ = made()

    assert header == encapsulation(snapshot, place(snapshot, source), place(snapshot, target))


LOCAL, INSIDE = {"externalTrafficPolicy": "Local"}, {"internalTrafficPolicy": "Local"}
HOST_POD = [fake.pod("a1", A1), fake.pod("b1", B1), fake.pod("h1", "172.30.1.1", host_network=True)]
ALL = Outcome.ALLOWED
ROWS = [
    # name, source, entry, via, spec, endpoints, outcome, sources by backend
    ("pod keeps its address", "default/a2", Entry.CLUSTER_IP, "", {}, (A1, B1), ALL, {A1: [A2], B1: [A2]}),
    ("hairpin is masqueraded", "default/a1", Entry.CLUSTER_IP, "", {}, (A1, B1), ALL, {A1: ["10.244.1.1"], B1: [A1]}),
    ("node is masqueraded", "node1", Entry.CLUSTER_IP, "", {}, (A1, B1), ALL, {A1: ["10.244.1.1"], B1: ["10.244.1.0"]}),
    ("no endpoints", "default/a1", Entry.CLUSTER_IP, "", {}, (), Outcome.REFUSED, {}),
    ("none ready", "default/a1", Entry.CLUSTER_IP, "", {}, ("!" + A1,), Outcome.REFUSED, {}),
    ("terminating as a last resort", "default/a2", Entry.CLUSTER_IP, "", {}, ("~" + A1,), ALL, {A1: [A2]}),
    ("ready before terminating", "default/a2", Entry.CLUSTER_IP, "", {}, ("~" + A1, B1), ALL, {B1: [A2]}),
    ("internal Local", "default/b1", Entry.CLUSTER_IP, "", INSIDE, (A1,), Outcome.DROPPED, {}),
    ("internal Local, local one", "default/a2", Entry.CLUSTER_IP, "", INSIDE, (A1, B1), ALL, {A1: [A2]}),
    ("NodePort from outside", "client", Entry.NODE_PORT, "node1", {}, (A1, B1), ALL, {A1: ["10.244.1.1"], B1: ["10.244.1.0"]}),
    ("NodePort of another node", "default/a1", Entry.NODE_PORT, "node2", {}, (A1, B1), ALL,
     {A1: ["10.244.2.0"], B1: ["10.244.2.1"]}),
    ("NodePort of the own node", "default/a2", Entry.NODE_PORT, "node1", {}, (A1, B1), ALL,
     {A1: ["10.244.1.1"], B1: ["10.244.1.0"]}),
    ("NodePort, no endpoints", "client", Entry.NODE_PORT, "node1", {}, (), Outcome.REFUSED, {}),
    ("Local keeps the client", "client", Entry.NODE_PORT, "node1", LOCAL, (A1, B1), ALL, {A1: [CLIENT]}),
    ("Local without endpoint", "client", Entry.NODE_PORT, "node2", LOCAL, (A1,), Outcome.DROPPED, {}),
    ("Local, none at all", "client", Entry.NODE_PORT, "node2", LOCAL, (), Outcome.REFUSED, {}),
    (
        "Local, pod at home: short-circuit",
        "default/a2", Entry.NODE_PORT, "node1", LOCAL, (A1, B1), ALL, {A1: [A2], B1: [A2]},
    ),
    (
        "Local, node at home: short-circuit",
        "node2", Entry.NODE_PORT, "node2", LOCAL, (A1,), ALL, {A1: ["10.244.2.0"]},
    ),
    (
        "Local, pod from abroad is its node",
        "default/b1", Entry.NODE_PORT, "node1", LOCAL, (A1, B1), ALL, {A1: ["172.30.1.2"]},
    ),
    (
        "load balancer from outside, any node",
        "client", Entry.LOAD_BALANCER, "", {}, (A1,), ALL, {A1: ["10.244.1.1", "10.244.2.0"]},
    ),
    (
        "load balancer Local: nodes with endpoints only",
        "client", Entry.LOAD_BALANCER, "", LOCAL, (A1,), ALL, {A1: [CLIENT]},
    ),
    ("load balancer from a pod", "default/a2", Entry.LOAD_BALANCER, "", {}, (B1,), ALL, {B1: ["10.244.1.0"]}),
    (
        "source range shuts out", "client", Entry.LOAD_BALANCER, "",
        {"loadBalancerSourceRanges": ["192.0.2.0/24"]}, (A1,), Outcome.DROPPED, {},
    ),
    (
        "source range lets in", "client", Entry.LOAD_BALANCER, "",
        {"loadBalancerSourceRanges": ["203.0.113.0/24"]}, (A1,), ALL, {A1: ["10.244.1.1", "10.244.2.0"]},
    ),
    (
        "source range is not for NodePorts", "client", Entry.NODE_PORT, "node1",
        {"loadBalancerSourceRanges": ["192.0.2.0/24"]}, (A1,), ALL, {A1: ["10.244.1.1"]},
    ),
    ("externalIP from a pod", "default/a2", Entry.EXTERNAL_IP, "", {}, (A1,), ALL, {A1: ["10.244.1.1"]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "entry", "via", "spec", "endpoints", "outcome", "sources"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_through_a_service(source, entry, via, spec, endpoints, outcome, sources):
    """Outcome, backends and the source each sees, for every entry and policy (semantics 6.1-6.13)."""
    assert (outcome, sources) == through(source, entry, via, endpoints=endpoints, **spec)


@pytest.mark.parametrize(
    ("source", "entry", "via", "seen"),
    [
        ("default/a1", Entry.CLUSTER_IP, "", [A1]),
        ("default/b1", Entry.CLUSTER_IP, "", ["172.30.1.2"]),
        ("client", Entry.NODE_PORT, "node1", [CLIENT]),
        ("client", Entry.NODE_PORT, "node2", ["172.30.1.2"]),
        ("node2", Entry.CLUSTER_IP, "", ["172.30.1.2"]),
        ("node1", Entry.CLUSTER_IP, "", ["10.244.1.0", "10.244.1.1", "172.30.1.1"]),
    ],
)
def test_backend_on_a_node_s_own_sockets(source, entry, via, seen):
    """Delivery to the node itself passes no postrouting; another node's backend sees the sender's node (2.31 e)."""
    assert (Outcome.ALLOWED, {"172.30.1.1": seen}) == through(source, entry, via, endpoints=("172.30.1.1",), pods=HOST_POD)


HINTS = [
    ("own node", {A1: {"forNodes": "node1"}, B1: {"forNodes": "node2"}}, {}, {A1}),
    ("own zone", {A1: {"forZones": "b"}, B1: {"forZones": "a"}}, {}, {B1}),
    ("node before zone", {A1: {"forNodes": "node1", "forZones": "b"}, B1: {"forNodes": "node2", "forZones": "a"}}, {}, {A1}),
    ("one without", {A1: {"forZones": "a"}, B1: {}}, {}, {A1, B1}),
    ("none for us", {A1: {"forZones": "b"}, B1: {"forZones": "c"}}, {}, {A1, B1}),
    ("Local is not narrowed", {A1: {"forZones": "b"}, B1: {"forZones": "a"}}, INSIDE, {A1}),
]


@pytest.mark.parametrize(("hints", "spec", "expected"), [r[1:] for r in HINTS], ids=[r[0] for r in HINTS])
def test_topology_hints(hints, spec, expected):
    """From node1 in zone a: endpoints hinted for it, if all have hints and one is for us (semantics 6.13)."""
    slice_ = fake.endpoints("web", hints)
    for endpoint, hinted in zip(slice_["endpoints"], hints.values(), strict=True):
        endpoint["hints"] = {kind: [{"name": name}] for kind, name in hinted.items()}
    web = fake.service("web", clusterIP="10.96.0.5", **spec)
    snapshot = fake.snapshot(fake.cluster(services=[web], slices=[slice_], nodes=[fake.node(1, zone="a"), fake.node(2)]))
    access = Access(place(snapshot, "default/a2"), snapshot.services[0], snapshot.services[0].spec.ports[0], Entry.CLUSTER_IP, "")

    assert {f"{address}:80" for address in expected} == set(through_service(snapshot, access).sources)


def test_serving_and_not_ready_is_not_enough():
    """An endpoint that is not ready is used only on its way out."""
    slice_ = fake.endpoints("web", ["~" + A1])
    slice_["endpoints"][0]["conditions"]["terminating"] = False
    web = fake.service("web", clusterIP="10.96.0.5")
    snapshot = fake.snapshot(fake.cluster(services=[web], slices=[slice_]))
    access = Access(place(snapshot, "default/a2"), snapshot.services[0], snapshot.services[0].spec.ports[0], Entry.CLUSTER_IP, "")

    assert Outcome.REFUSED is through_service(snapshot, access).outcome


def test_address_of_nobody():
    """An address that no host of the lab has is a place of kind NOWHERE."""
    snapshot, _ = made()

    assert Place(Kind.NOWHERE, "192.0.2.7", "", "192.0.2.7") == snapshot.place_at("192.0.2.7")
