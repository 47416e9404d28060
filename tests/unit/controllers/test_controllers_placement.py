"""Scheduler, node IPAM, pod garbage, load balancer addresses, the cluster's own objects."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_objects import (
    NOW,
    daemon_set,
    deployment,
    endpoints,
    lab,
    messages,
    namespace,
    node,
    pod,
    replica_set,
    service,
    settle,
    words,
    written,
)

from netlab.api.cluster import Node
from netlab.api.meta import Object
from netlab.api.pods import Pod
from netlab.api.services import Service
from netlab.api.wellknown import SYSTEM_NAMESPACES
from netlab.controlplane.controllers import cluster_services, load_balancer, node_ipam, pod_garbage, scheduler
from netlab.controlplane.controllers.world import World
from netlab.controlplane.controllers.writes import Patch, UpdateStatus, is_event
from netlab.ipam import AddressPlan

NODES = [node("node1"), node("node2"), node("node10", labels={"disk": "ssd"})]


def bindings(objects: list[Object]) -> dict[str, str]:
    """Return pod -> node of what the scheduler binds."""
    writes = settle(scheduler.reconcile, [lab(), *objects])
    return {w.name: w.patch["spec"]["nodeName"] for w in writes if isinstance(w, Patch)}


def pending(name: str, **more: Any) -> Pod:
    return pod(name, phase="Pending", **more)


def port(number: int, protocol: str = "TCP", host: str = "") -> list[dict[str, Any]]:
    return [{"containerPort": 80, "hostPort": number, "protocol": protocol, "hostIP": host}]


# ---- scheduler
@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([pending("a"), pending("b"), pending("c"), pending("d")], {"a": "node1", "b": "node2", "c": "node10", "d": "node1"}),
        ([pending("a", node="node2")], {}),  # nodeName is respected
        ([pending("a", deleted=True)], {}),
        ([pending("a", nodeSelector={"disk": "ssd"})], {"a": "node10"}),
        # replicas of one owner are spread before pods are counted
        (
            [
                pod("y", node="node1", owner=("ReplicaSet", "r")),
                *(pod(f"x{n}", node="node2") for n in range(2)),
                *(pod(f"z{n}", node="node10") for n in range(3)),
                pending("a", owner=("ReplicaSet", "r")),
            ],
            {"a": "node2"},
        ),
        ([pod("x", node="node1"), pod("z", node="node10"), pending("a")], {"a": "node2"}),  # the fewest pods
        ([pod("x", node="node1", phase="Succeeded"), pending("a")], {"a": "node1"}),  # finished pods don't count
    ],
)
def test_scheduler_binds(pods: list[Pod], expected: dict[str, str]) -> None:
    """Replicas spread, then the fewest pods, then node order (node2 before node10)."""
    actual = bindings([*NODES, *pods])

    assert expected == actual


SEEN, UNSEEN = {"observedGeneration": 1}, {"observedGeneration": 0}


@pytest.mark.parametrize(
    ("maker", "ready"),
    [
        (deployment("x", status=UNSEEN), False),
        (deployment("x", status=SEEN), True),
        (deployment("x", status=SEEN, generation=2), False),
        (replica_set("x", status=UNSEEN), False),
        (replica_set("x", status=SEEN), True),
        (daemon_set("x", status=UNSEEN), False),
        (daemon_set("x", status={**SEEN, "desiredNumberScheduled": 2}), False),  # a node has come since
        (daemon_set("x", status={**SEEN, "desiredNumberScheduled": 3}), True),
        (daemon_set("x", status={**SEEN, "desiredNumberScheduled": 1}, pod={"nodeSelector": {"disk": "ssd"}}), True),
    ],
)
def test_scheduler_waits_for_all_pods(maker: Object, ready: bool) -> None:
    """No pod is bound before all there are to be are there: where they run must not depend on who was faster."""
    assert bindings([*NODES, maker, pending("a")]) == ({"a": "node1"} if ready else {})


@pytest.mark.parametrize(
    ("taken", "wanted", "fits"),
    [
        (port(8080), port(8080), False),
        (port(8080), port(8081), True),
        (port(8080), port(8080, "UDP"), True),
        (port(8080, host="172.30.1.1"), port(8080, host="172.30.1.2"), True),
        (port(8080, host="172.30.1.1"), port(8080, host="172.30.1.1"), False),
        (port(8080, host="172.30.1.1"), port(8080), False),  # 0.0.0.0 overlaps everything
        (port(8080), port(8080, host="172.30.1.1"), False),
        (port(8080), [], True),
    ],
)
def test_scheduler_host_ports(taken: list[Any], wanted: list[Any], fits: bool) -> None:
    """Semantics 1.8: same port, same protocol and overlapping address is a conflict, anything else is none."""
    actual = bindings([node("node1"), pod("a", node="node1", ports=taken), pending("b", ports=wanted)])

    assert ({"b": "node1"} if fits else {}) == actual


def test_scheduler_host_network_takes_container_ports() -> None:
    """Two hostNetwork pods on the same port go to two nodes."""
    ports = [{"containerPort": 80}]
    pods = [pending(name, hostNetwork=True, ports=ports) for name in ("a", "b")]
    actual = bindings([node("node1"), node("node2"), pod("x", node="node2"), *pods])

    assert {"a": "node1", "b": "node2"} == actual


@pytest.mark.parametrize(
    ("nodes", "some", "expected"),
    [
        ([], pending("a"), "no nodes available to schedule pods"),
        (
            NODES,
            pending("a", nodeSelector={"disk": "tape"}),
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            [node("node1", unschedulable=True), node("node2")],
            pending("a", nodeSelector={"disk": "ssd"}),
            "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable.",
        ),
        (
            [node("node1")],
            pending("a", ports=port(1)),
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.",
        ),
    ],
)
def test_scheduler_explains(nodes: list[Node], some: Pod, expected: str) -> None:
    """What fits nowhere says why, in Kubernetes' words, as a condition and as an Event; and says it once."""
    others: list[Object] = [lab(), *nodes, pod("x", node="node1", ports=port(1))]
    writes = settle(scheduler.reconcile, [*others, some])
    stored = written(writes[0])
    condition = next(c for c in stored.status.conditions if c.type == "PodScheduled")
    again = settle(scheduler.reconcile, [*others, stored])

    assert ("False", "Unschedulable", expected) == (condition.status, condition.reason, condition.message)
    assert [f"FailedScheduling: {expected}"] == messages(writes)
    assert again == []


@pytest.mark.parametrize(("registered", "expected"), [((), {}), (("node1",), {}), (("node1", "node2"), {"a": "node1"})])
def test_scheduler_waits_for_all_nodes_of_the_lab(registered: tuple[str, ...], expected: dict[str, str]) -> None:
    """While nodes that the lab lists have not registered, nothing is bound: the first would get everything."""
    writes = settle(scheduler.reconcile, [lab(("node1", "node2")), *map(node, registered), pending("a")])
    actual = {w.name: w.patch["spec"]["nodeName"] for w in writes if isinstance(w, Patch)}

    assert expected == actual
    assert [] == settle(scheduler.reconcile, [*map(node, registered), pending("a")])


# ---- node IPAM
@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("node3", "172.30.1.3")], {"node3": "10.244.3.0/24"}),
        ([node("node3")], {}),  # no address yet
        ([node("node1", "172.30.1.1", cidr="10.244.1.0/24")], {}),
        ([node("other", "192.0.2.7"), node("node1", "172.30.1.1")], {"node1": "10.244.1.0/24", "other": "10.244.2.0/24"}),
        ([node("node1", "172.30.1.1"), node("old", "192.0.2.7", cidr="10.244.1.0/24")], {"node1": "10.244.2.0/24"}),
    ],
)
def test_node_ipam(nodes: list[Node], expected: dict[str, str]) -> None:
    """A node's pod range follows from its address; otherwise it is the lowest free one."""
    writes = settle(node_ipam.reconcile, [lab(), *nodes])
    actual = {w.name: w.patch["spec"]["podCIDR"] for w in writes if isinstance(w, Patch)}

    assert expected == actual


def test_node_ipam_without_room() -> None:
    """A pod subnet that is used up is told as an Event."""
    small = lab(networking={"podSubnet": "10.244.0.0/23"})
    actual = messages(settle(node_ipam.reconcile, [small, node("node1", "172.30.1.1"), node("node2", "172.30.1.2")]))

    assert actual[0].startswith("CIDRNotAvailable: Node node2")
    assert len(actual) == 1


# ---- pod garbage
@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (pod("a", node="node1"), []),
        (pod("a", node="node9"), ["delete pods/default/a grace period 0 s"]),
        (pod("a", node="node2"), []),  # listed, not registered yet
        (pod("a"), []),
    ],
)
def test_pod_garbage(some: Pod, expected: list[str]) -> None:
    """Pods of nodes that are gone are deleted without grace."""
    actual = words(settle(pod_garbage.reconcile, [lab(("node1", "node2")), node("node1"), some]))

    assert expected == actual


# ---- load balancer
POOL = {"loadBalancer": {"pool": "198.51.100.0/29"}}
FULL = {"loadBalancer": {"pool": "198.51.100.0/30"}}


def balanced(name: str, ip: str = "", **spec: Any) -> Service:
    ingress = [{"ip": ip, "ipMode": "VIP"}] if ip else []
    return service(name, status={"loadBalancer": {"ingress": ingress}}, **{"type": "LoadBalancer", **spec})


@pytest.mark.parametrize(
    ("pool", "services", "expected"),
    [
        (POOL, [balanced("a"), balanced("b")], {"a": "198.51.100.1", "b": "198.51.100.2"}),
        (POOL, [balanced("a", "198.51.100.4"), balanced("b")], {"b": "198.51.100.1"}),  # sticky
        (POOL, [balanced("a"), balanced("b", loadBalancerIP="198.51.100.1")], {"b": "198.51.100.1", "a": "198.51.100.2"}),
        (POOL, [balanced("a", "198.51.100.4", loadBalancerIP="198.51.100.5")], {"a": "198.51.100.5"}),
        (POOL, [balanced("a", "192.0.2.1")], {"a": "198.51.100.1"}),  # the pool was changed
        (POOL, [balanced("a", loadBalancerClass="example.com/other")], {}),
        (POOL, [balanced("a", "192.0.2.1", loadBalancerClass="example.com/other")], {}),
        (POOL, [balanced("a", "198.51.100.1", type="NodePort")], {"a": ""}),  # released
        (POOL, [balanced("a", "198.51.100.1", type="ClusterIP"), balanced("b")], {"a": "", "b": "198.51.100.1"}),
        (FULL, [balanced("a"), balanced("b"), balanced("c")], {"a": "198.51.100.1", "b": "198.51.100.2"}),
        ({}, [balanced("a")], {}),
        ({}, [balanced("a", "198.51.100.1")], {"a": ""}),  # the lab has lost its pool
    ],
)
def test_load_balancer(pool: dict[str, Any], services: list[Service], expected: dict[str, str]) -> None:
    """Addresses are sticky, asked for, or the lowest free one (semantics 4.10, 4.11)."""
    writes = [w for w in settle(load_balancer.reconcile, [lab(**pool), *services]) if isinstance(w, UpdateStatus)]
    ingress = {w.object.metadata.name: written(w).status.load_balancer.ingress for w in writes}
    actual = {name: entries[0].ip if entries else "" for name, entries in ingress.items()}

    assert expected == actual
    assert all(entry.ip_mode == "VIP" for entries in ingress.values() for entry in entries)


@pytest.mark.parametrize(
    ("pool", "services", "expected"),
    [
        (
            {},
            [balanced("a")],
            ['AllocationFailed: Failed to allocate IP for "default/a": the lab has no address pool (spec.loadBalancer.pool)'],
        ),
        (
            POOL,
            [balanced("a", loadBalancerIP="192.0.2.1")],
            ['AllocationFailed: Failed to allocate IP for "default/a": "192.0.2.1" is not in the pool'],
        ),
        (
            POOL,
            [balanced("a", "198.51.100.1"), balanced("b", loadBalancerIP="198.51.100.1")],
            ['AllocationFailed: Failed to allocate IP for "default/b": "198.51.100.1" is in use by "default/a"'],
        ),
        (POOL, [balanced("a")], ['IPAllocated: Assigned IP ["198.51.100.1"]']),
    ],
)
def test_load_balancer_events(pool: dict[str, Any], services: list[Service], expected: list[str]) -> None:
    """What stays pending says why."""
    actual = messages(settle(load_balancer.reconcile, [lab(**pool), *services]))

    assert expected == actual


# ---- the cluster's own objects
SYSTEM = [namespace(name) for name in SYSTEM_NAMESPACES]
CLIENTS = lab(clients=[{"name": "client", "hostnames": ["db.example.com"]}, {"name": "other"}])


def cluster(*objects: Object) -> list[Any]:
    own = cluster_services.services(AddressPlan.of(CLIENTS))
    return [
        written(w) for w in settle(cluster_services.reconcile, [CLIENTS, *SYSTEM, *own, *objects]) if not isinstance(w, Patch)
    ]


def test_cluster_namespaces_come_first() -> None:
    """System namespaces are made before what is in them."""
    actual = words(settle(cluster_services.reconcile, [lab()]))

    assert [f"create namespaces/{name}" for name in SYSTEM_NAMESPACES] == actual


def test_cluster_services() -> None:
    """Services kubernetes and kube-dns have the addresses of the plan; kube-dns is node-local."""
    made = {
        written(w).key: written(w)
        for w in cluster_services.reconcile(World.of([CLIENTS, *SYSTEM]), NOW)
        if not isinstance(w, Patch)
    }
    dns = made["kube-system/kube-dns"].spec

    assert made["default/kubernetes"].spec.cluster_ip == "10.96.0.1"
    assert ("10.96.0.10", "Local", {}) == (dns.cluster_ip, dns.internal_traffic_policy, dns.selector)
    assert [("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")] == [(p.name, p.port, p.protocol) for p in dns.ports]


def test_cluster_endpoints() -> None:
    """The API server is behind kubernetes, the DNS server of every node behind kube-dns."""
    made = cluster(node("node2", "172.30.1.2"), node("node1", "172.30.1.1", labels={"topology.kubernetes.io/zone": "a"}))
    slices = {o.service_key: o for o in made if hasattr(o, "endpoints")}
    dns = [(e.addresses, e.node_name, e.zone, e.conditions.ready) for e in slices["kube-system/kube-dns"].endpoints]

    assert [("172.30.0.2",)] == [e.addresses for e in slices["default/kubernetes"].endpoints]
    assert [(("172.30.1.1",), "node1", "a", True), (("172.30.1.2",), "node2", "", True)] == dns
    assert {"default/kubernetes", "kube-system/kube-dns"} == {o.key for o in made if hasattr(o, "subsets")}


def test_cluster_node_hosts() -> None:
    """NodeHosts names nodes, and clients with their host names."""
    made = {o.key: o for o in cluster(node("node10", "172.30.1.10"), node("node2", "172.30.1.2"))}
    expected = "172.30.1.2 node2\n172.30.1.10 node10\n203.0.113.10 client db.example.com\n203.0.113.11 other\n"

    assert expected == made["kube-system/coredns"].data["NodeHosts"]


BAD_ADDRESS = "172.30.1.1 node1\n6.6.6.6 pay.default.svc.cluster.local db.example.com\n7.7.7.7"


@pytest.mark.parametrize("bad", [node("node7", BAD_ADDRESS), node("node7", "0.0.0.0"), node("a\n6.6.6.6 pay", "172.30.1.7")])
def test_cluster_leaves_out_a_node_that_is_none(bad) -> None:
    """A node whose address or name cannot be one adds no line to NodeHosts and no DNS server; others do (B1)."""
    made = {o.key: o for o in cluster(node("node2", "172.30.1.2"), bad)}
    slices = [o for o in made.values() if getattr(o, "service_key", "") == "kube-system/kube-dns"]
    expected = "172.30.1.2 node2\n203.0.113.10 client db.example.com\n203.0.113.11 other\n"

    assert expected == made["kube-system/coredns"].data["NodeHosts"]
    assert {("172.30.1.2",)} == {e.addresses for p in slices for e in p.endpoints if e.node_name in {"node2", "node7"}}


def test_cluster_tells_of_an_address_that_is_none() -> None:
    """An Event on the node, once, says what stands in the place of its address."""
    writes = settle(cluster_services.reconcile, [CLIENTS, *SYSTEM, node("node7", BAD_ADDRESS)])
    told = [written(w) for w in writes if is_event(w)]

    assert [("InvalidAddress", "node7")] == [(e.reason, e.involved_object.name) for e in told]


def test_cluster_leaves_a_changed_selector_alone() -> None:
    """Endpoints of kube-dns are the user's business once it has a selector."""
    own = service("kubernetes")
    actual = words(settle(cluster_services.reconcile, [CLIENTS, *SYSTEM, own, endpoints("x", [])]))

    assert "create services/kube-system/kube-dns" in actual
    assert not [word for word in actual if "endpoints" in word]
