from __future__ import annotations

from dataclasses import replace

import pytest
from proxy_builders import (
    CLIENT,
    CONFIG,
    FLANNEL,
    HOST,
    LOCAL,
    NODE,
    NODE_IP,
    OTHER_POD,
    POD,
    REMOTE,
    endpoint,
    going,
    outcomes,
    service,
    service_map,
    slice_of,
)

from netlab.api.discovery import EndpointPort
from netlab.api.services import ServicePort
from netlab.family import Family
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import render, transaction
from netlab.netfilter.trace import Host
from netlab.proxy.nftables import NftablesCompiler, compile_services
from netlab.proxy.servicemap import ServiceTracker

VIP, LB, EXTERNAL = "10.96.0.5", "198.51.100.1", "192.0.2.1"
L, R = f"{LOCAL}:8080", f"{REMOTE}:8080"
LM, RM = f"{L} masqueraded", f"{R} masqueraded"

CLUSTER_IP = (service(), slice_of(LOCAL, REMOTE))
NODE_PORT = (service(type="NodePort", external_traffic_policy="Cluster"), slice_of(LOCAL, REMOTE))
NODE_PORT_LOCAL = (service(type="NodePort", external_traffic_policy="Local"), slice_of(LOCAL, REMOTE))
REMOTE_ONLY = (service(type="LoadBalancer", lb=LB, external_ips=(EXTERNAL,), external_traffic_policy="Local"), slice_of(REMOTE))
LOAD_BALANCER = (service(type="LoadBalancer", lb=LB, external_ips=(EXTERNAL,)), slice_of(LOCAL, REMOTE))
RANGES = (service(type="LoadBalancer", lb=LB, load_balancer_source_ranges=("203.0.113.0/24",)), slice_of(REMOTE))
NODE_RANGES = (service(type="LoadBalancer", lb=LB, load_balancer_source_ranges=("172.30.0.0/16",)), slice_of(REMOTE))
EMPTY = (service(type="LoadBalancer", lb=LB, external_ips=(EXTERNAL,)), slice_of())
EMPTY_LOCAL = (service(type="LoadBalancer", lb=LB, external_traffic_policy="Local", internal_traffic_policy="Local"), slice_of())
INTERNAL_LOCAL = (service(internal_traffic_policy="Local"), slice_of(LOCAL, REMOTE))
INTERNAL_NONE_HERE = (service(internal_traffic_policy="Local"), slice_of(REMOTE))
INTERNAL_LOCAL_OPEN = (service(type="NodePort", internal_traffic_policy="Local"), slice_of(REMOTE))
BOTH_LOCAL = (
    service(type="NodePort", internal_traffic_policy="Local", external_traffic_policy="Local"),
    slice_of(LOCAL, REMOTE),
)
LEAVING = (service(type="NodePort", external_traffic_policy="Local"), slice_of(going(LOCAL), REMOTE))
NO_POD = (service(type="NodePort"), slice_of(CLIENT))
HINTED = (
    service(type="NodePort", external_traffic_policy="Local"),
    slice_of(endpoint(LOCAL, zone="b"), endpoint(REMOTE, zone="a")),
)

# what, objects, source, destination, port -> everything that may happen
FLOWS = [
    ("6.6 pod to ClusterIP keeps its source", CLUSTER_IP, POD, VIP, 80, {L, R}),
    ("6.6 a remote pod's source is kept too", CLUSTER_IP, OTHER_POD, VIP, 80, {L, R}),
    ("6.7 others are masqueraded", CLUSTER_IP, CLIENT, VIP, 80, {LM, RM}),
    ("6.9 the node reaches ClusterIPs", CLUSTER_IP, NODE_IP, VIP, 80, {LM, RM}),
    ("6.8 hairpin", CLUSTER_IP, LOCAL, VIP, 80, {LM, R}),
    ("8.5 unused port of an active ClusterIP", CLUSTER_IP, POD, VIP, 81, {"reject"}),
    ("8.5 the same from the node", CLUSTER_IP, NODE_IP, VIP, 81, {"reject"}),
    ("8.5 address that no Service has", CLUSTER_IP, POD, "10.96.9.9", 80, {"drop"}),
    ("8.5 the same from the node", CLUSTER_IP, NODE_IP, "10.96.9.9", 80, {"drop"}),
    ("no node port without type", CLUSTER_IP, CLIENT, NODE_IP, 30080, {f"{NODE_IP}:30080"}),
    ("6.5 NodePort Cluster", NODE_PORT, CLIENT, NODE_IP, 30080, {LM, RM}),
    ("6.5 NodePort Cluster from a pod", NODE_PORT, POD, NODE_IP, 30080, {LM, RM}),
    ("6.9 NodePort from the node", NODE_PORT, NODE_IP, NODE_IP, 30080, {LM, RM}),
    ("6.10 the primary address only", NODE_PORT, POD, "10.244.1.1", 30080, {"10.244.1.1:30080"}),
    ("6.11 not localhost", NODE_PORT, "127.0.0.1", "127.0.0.1", 30080, {"127.0.0.1:30080"}),
    ("NodePort Service at its ClusterIP", NODE_PORT, POD, VIP, 80, {L, R}),
    ("6.5 NodePort Local keeps the client", NODE_PORT_LOCAL, CLIENT, NODE_IP, 30080, {L}),
    ("6.4 pods reach all endpoints", NODE_PORT_LOCAL, POD, NODE_IP, 30080, {L, R}),
    ("6.4 and so does the node, masqueraded", NODE_PORT_LOCAL, NODE_IP, NODE_IP, 30080, {LM, RM}),
    ("Local and ClusterIP", NODE_PORT_LOCAL, POD, VIP, 80, {L, R}),
    ("6.3 Local without local endpoint", REMOTE_ONLY, CLIENT, NODE_IP, 30080, {"drop"}),
    ("6.3 the same at the load balancer address", REMOTE_ONLY, CLIENT, LB, 80, {"drop"}),
    ("6.3 the same at an external address", REMOTE_ONLY, CLIENT, EXTERNAL, 80, {"drop"}),
    ("6.4 pods still reach it", REMOTE_ONLY, POD, LB, 80, {R}),
    ("6.4 and the node", REMOTE_ONLY, NODE_IP, LB, 80, {RM}),
    ("6.4 and the node by node port", REMOTE_ONLY, NODE_IP, NODE_IP, 30080, {RM}),
    ("6.4 pods by node port", REMOTE_ONLY, POD, NODE_IP, 30080, {R}),
    ("4.12 external address", LOAD_BALANCER, CLIENT, EXTERNAL, 80, {LM, RM}),
    ("4.11 load balancer address from outside", LOAD_BALANCER, CLIENT, LB, 80, {LM, RM}),
    ("4.11 short-circuit for pods", LOAD_BALANCER, POD, LB, 80, {LM, RM}),
    ("another port of the load balancer address is not ours", LOAD_BALANCER, POD, LB, 81, {f"{LB}:81 masqueraded"}),
    ("6.12 source in range", RANGES, CLIENT, LB, 80, {RM}),
    ("6.12 source out of range", RANGES, "192.0.2.77", LB, 80, {"drop"}),
    ("6.12 pods are not exempt", RANGES, POD, LB, 80, {"drop"}),
    ("6.12 the node is not exempt", RANGES, NODE_IP, LB, 80, {"drop"}),
    ("6.12 node ports are", RANGES, "192.0.2.77", NODE_IP, 30080, {RM}),
    ("6.12 ClusterIPs are", RANGES, POD, VIP, 80, {R}),
    ("6.12 the node in range", NODE_RANGES, NODE_IP, LB, 80, {RM}),
    ("6.12 its own loop from the address itself", NODE_RANGES, LB, LB, 80, {RM}),
    ("6.3 no endpoint at the ClusterIP", EMPTY, POD, VIP, 80, {"reject"}),
    ("6.3 from the node", EMPTY, NODE_IP, VIP, 80, {"reject"}),
    ("6.3 at the node port", EMPTY, CLIENT, NODE_IP, 30080, {"reject"}),
    ("6.3 at the node's own node port", EMPTY, NODE_IP, NODE_IP, 30080, {"reject"}),
    ("6.3 at the load balancer address", EMPTY, CLIENT, LB, 80, {"reject"}),
    ("6.3 at the external address", EMPTY, NODE_IP, EXTERNAL, 80, {"reject"}),
    ("6.3 no endpoint is refused under Local too", EMPTY_LOCAL, CLIENT, LB, 80, {"reject"}),
    ("6.3 and inside", EMPTY_LOCAL, POD, VIP, 80, {"reject"}),
    ("4.21 internal Local", INTERNAL_LOCAL, POD, VIP, 80, {L}),
    ("4.21 internal Local from the node", INTERNAL_LOCAL, NODE_IP, VIP, 80, {LM}),
    ("4.21 internal Local, none here", INTERNAL_NONE_HERE, POD, VIP, 80, {"drop"}),
    ("4.21 internal Local does not bind node ports", INTERNAL_LOCAL_OPEN, CLIENT, NODE_IP, 30080, {RM}),
    ("4.21 but it does bind the ClusterIP", INTERNAL_LOCAL_OPEN, CLIENT, VIP, 80, {"drop"}),
    ("both Local: outside keeps its source", BOTH_LOCAL, CLIENT, NODE_IP, 30080, {L}),
    ("both Local: the node at the ClusterIP", BOTH_LOCAL, NODE_IP, VIP, 80, {LM}),
    ("6.2 terminating local endpoint still serves", LEAVING, CLIENT, NODE_IP, 30080, {L}),
    ("6.1 but not while others are ready", LEAVING, POD, VIP, 80, {R}),
    ("6.13 hints narrow Cluster", HINTED, POD, VIP, 80, {R}),
    ("6.13 but not Local", HINTED, CLIENT, NODE_IP, 30080, {L}),
    ("18.6 the proxy masquerades, and the mark is gone", NO_POD, POD, NODE_IP, 30080, {f"{CLIENT}:8080 masqueraded"}),
    ("4.14 endpoint outside the pod network", NO_POD, POD, VIP, 80, {f"{CLIENT}:8080 masqueraded"}),
    ("pods without Service", CLUSTER_IP, POD, OTHER_POD, 8080, {f"{OTHER_POD}:8080"}),
    ("2.31 pod to outside", CLUSTER_IP, POD, CLIENT, 443, {f"{CLIENT}:443 masqueraded"}),
    ("2.31 pod to another node", CLUSTER_IP, POD, "172.30.1.2", 443, {"172.30.1.2:443 masqueraded"}),
    ("2.31 pod to multicast", CLUSTER_IP, POD, "224.0.0.5", 5000, {"224.0.0.5:5000"}),
    ("2.32 outside to a local pod", CLUSTER_IP, CLIENT, LOCAL, 8080, {L}),
    ("2.34 node to a remote pod", CLUSTER_IP, NODE_IP, REMOTE, 8080, {R}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "source", "destination", "port", "expected"), [f[1:] for f in FLOWS], ids=[f[0] for f in FLOWS]
)
def test_a_packet_goes_where_kubernetes_says(objects: tuple, source: str, destination: str, port: int, expected: set) -> None:
    """Everything that may happen to a packet on node1, by the rules of the proxy and of flannel, in either order."""
    host = Host(HOST.addresses | {LB}) if source == LB else HOST

    assert expected == outcomes(objects, source, destination, port, host=host)


DNS = (
    service(ports=(ServicePort(port=53, name="dns", protocol="UDP"), ServicePort(port=53, name="dns-tcp"))),
    slice_of(LOCAL, ports=(EndpointPort(port=5353, name="dns", protocol="UDP"), EndpointPort(port=5354, name="dns-tcp"))),
)


@pytest.mark.parametrize(("protocol", "expected"), [("udp", "5353"), ("tcp", "5354"), ("sctp", "reject"), ("icmp", "reject")])
def test_protocols_are_told_apart(protocol: str, expected: str) -> None:
    """The same number in TCP and UDP leads to each one's own target; a protocol without port is refused (semantics 8.5)."""
    assert {expected if expected == "reject" else f"{LOCAL}:{expected}"} == outcomes(DNS, POD, VIP, 53, protocol=protocol)


def test_masquerade_all() -> None:
    """With masqueradeAll even pods lose their source at a ClusterIP (semantics 6.7)."""
    assert {LM, RM} == outcomes(CLUSTER_IP, POD, VIP, 80, config=replace(CONFIG, masquerade_all=True))


STICKY = (service(session_affinity="ClientIP", type="NodePort"), slice_of(LOCAL, REMOTE))


@pytest.mark.parametrize(
    ("clients", "expected"), [({}, {L, R}), ({REMOTE: POD}, {R}), ({LOCAL: POD}, {L}), ({LOCAL: OTHER_POD}, {L, R})]
)
def test_a_client_sticks_to_its_endpoint(clients: dict, expected: set) -> None:
    """A remembered client goes to its endpoint, any other to any (semantics 6.24, 8.7)."""
    sets = {n for n in compile_services(service_map(*STICKY), CONFIG).sets if n.startswith("affinity-")}
    remembered = {n: frozenset(c for e, c in clients.items() if f"__{e}/" in n) for n in sets}

    assert (2, expected) == (len(sets), outcomes(STICKY, POD, VIP, 80, host=Host(HOST.addresses, remembered)))


def test_the_client_of_the_node_port_is_the_client_of_the_cluster_ip() -> None:
    """Affinity belongs to the service port, whatever address was used to reach it (semantics 6.24)."""
    (remote,) = [n for n in compile_services(service_map(*STICKY), CONFIG).sets if f"__{REMOTE}/" in n]
    host = Host(HOST.addresses, {remote: frozenset({CLIENT})})

    assert [{RM}, {RM}] == [outcomes(STICKY, CLIENT, ip, p, host=host) for ip, p in ((VIP, 80), (NODE_IP, 30080))]


def test_the_chains_of_a_service_port() -> None:
    """The rules of one port, word for word (semantics 8.3 to 8.8)."""
    rules = compile_services(service_map(service(session_affinity="ClientIP", cluster_ip=VIP), slice_of(LOCAL)), CONFIG)
    base, end = "Y6QD5CCT-ns/web/tcp/http", "endpoint-TWBEE4UL-ns/web/tcp/http__10.244.1.5/8080"
    chains = {n: c.rules for n, c in rules.chains.items() if "/" in n}
    affinity = end.replace("endpoint", "affinity")

    assert {
        f"service-{base}": (
            f"ip daddr {VIP} tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade",
            f"ip saddr @{affinity} goto {end}",
            f"numgen random mod 1 vmap {{ 0 : goto {end} }}",
        ),
        end: (
            f"ip saddr {LOCAL} jump mark-for-masquerade",
            f"update @{affinity} {{ ip saddr }}",
            "meta l4proto tcp dnat to 10.244.1.5:8080",
        ),
    } == chains
    assert "type ipv4_addr; flags dynamic,timeout; timeout 10800s;" == str(rules.sets[affinity])
    assert {f"{VIP} . tcp . 80": f"goto service-{base}"} == rules.elements["service-ips"]


@pytest.mark.parametrize(
    ("internal", "external", "expected"),
    [
        ("Cluster", "Cluster", "service"),
        ("Cluster", "Local", "service"),
        ("Local", "Cluster", "local"),
        ("Local", "Local", "local"),
    ],
)
def test_the_chain_of_the_cluster_ip_masquerades_it(internal: str, external: str, expected: str) -> None:
    """One of the two chains that balance has the rule: the one that internal traffic goes to (semantics 6.6)."""
    some = service(type="NodePort", internal_traffic_policy=internal, external_traffic_policy=external)
    chains = compile_services(service_map(some, slice_of(LOCAL, REMOTE)), CONFIG).chains

    assert [expected] == [name.partition("-")[0] for name, chain in chains.items() if f"ip daddr {VIP} " in " ".join(chain.rules)]


def test_what_is_refused_names_its_service() -> None:
    """Elements of the two maps for what has no endpoint have the comment that kube-proxy gives them."""
    keys = {
        "no-endpoint-services": {f"{address} . tcp . 80" for address in (VIP, LB, EXTERNAL)},
        "no-endpoint-nodeports": {"tcp . 30080"},
    }
    comments = compile_services(service_map(*EMPTY), CONFIG).whole.comments

    assert {name: dict.fromkeys(members, "ns/web:http") for name, members in keys.items()} == comments
    assert {} == compile_services(service_map(*CLUSTER_IP), CONFIG).whole.comments


NO_SERVICES = compile_services({}, CONFIG)
COMMENTED = [
    (NO_SERVICES, 'add table ip kube-proxy { comment "rules for kube-proxy"; }'),
    (NO_SERVICES, 'add set ip kube-proxy cluster-ips { type ipv4_addr; comment "Active ClusterIPs"; }'),
    (NO_SERVICES, 'reject-chain { comment "helper for @no-endpoint-services / @no-endpoint-nodeports"; }'),
    (NO_SERVICES, 'ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"'),
    (FLANNEL, 'add table ip flannel-ipv4 { comment "rules for flannel-ipv4"; }'),
    (FLANNEL, 'hook postrouting priority 100; comment "chain to manage traffic masquerading by flannel"; }'),
    (FLANNEL, "add rule ip flannel-ipv4 postrtg meta mark 0x4000 return"),
]


@pytest.mark.parametrize(("ruleset", "command"), COMMENTED, ids=range(len(COMMENTED)))
def test_comments_are_those_of_a_real_node(ruleset: Ruleset, command: str) -> None:
    """Who lists the tables reads what kube-proxy and flannel write on a cluster (semantics 2.34, 8.1)."""
    assert [True] == [line.endswith(command) for line in render(ruleset).splitlines() if command in line]


def test_an_unchanged_service_is_not_compiled_again() -> None:
    """A change of one Service touches its fragment only, and the script says nothing of others."""
    tracker = ServiceTracker(NODE, Family.IPV4)
    for name, ip in (("a", "10.96.0.5"), ("b", "10.96.0.6")):
        tracker.set_service(
            f"ns/{name}",
            service(name=name, cluster_ip=ip, type="NodePort" if name == "a" else "ClusterIP", external_ips=(EXTERNAL,)),
        )
        tracker.set_slice(f"ns/{name}-1", slice_of(LOCAL, name=f"{name}-1", service=name))
    compiler = NftablesCompiler(CONFIG)
    old = compiler.compile(tracker.current())
    tracker.set_slice("ns/b-1", slice_of(LOCAL, REMOTE, name="b-1", service="b"))
    new = compiler.compile(tracker.current())

    assert old.fragments["ns/a"] is new.fragments["ns/a"]
    assert "ns/a" not in transaction(old, new)
    assert "ns/b" in transaction(old, new)


def test_removing_a_service_removes_all_of_it() -> None:
    """Adding a Service and taking it away again leaves the table as it was."""
    compiler = NftablesCompiler(CONFIG)
    empty, full = compiler.compile({}), compiler.compile(service_map(*LOAD_BALANCER))
    script = transaction(full, compiler.compile({}))

    assert sorted(n for n in full.chains if n not in empty.chains) == sorted(
        line.split()[-1] for line in script.splitlines() if line.startswith("delete chain")
    )
    assert "delete element ip kube-proxy cluster-ips { 10.96.0.5 }\n" in script
