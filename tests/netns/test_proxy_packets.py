"""The service proxy's and flannel's rules under real packets: one node, two pods on its bridge, and a far side.

    pod1 10.244.1.5 --.
    pod2 10.244.1.9 --+-- cni0 10.244.1.1 [ node ] eth0 172.30.1.1 ---- eth0 172.30.0.10 [ far ] lo 10.244.2.5

`far` is two hosts in one: the client 172.30.0.10, and a remote pod 10.244.2.5, routed to without an overlay.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from netlab.api.cluster import Node
from netlab.api.meta import ObjectMeta
from netlab.api.resources import ENDPOINT_SLICES, SERVICES
from netlab.dataplane.state import Address, Bridge, Link, Operation, Route, Sysctl, Verb, Veth
from netlab.family import Family
from netlab.kernel.linux import LinuxKernel
from netlab.netfilter.script import render
from netlab.overlay.masquerade import flannel_rules
from netlab.proxy.frame import ProxyConfig
from netlab.proxy.nftables import compile_services
from netlab.proxy.servicemap import build

pytestmark = pytest.mark.netns

POD1, POD2, GATEWAY, FAR_POD = "10.244.1.5", "10.244.1.9", "10.244.1.1", "10.244.2.5"
NODE, CLIENT, LB = "172.30.1.1", "172.30.0.10", "198.51.100.1"
ATTEMPTS = 24  # of a choice between two: missing one has a chance of 1 in 8 million
PATIENCE = 10.0  # seconds for what must come
SILENCE = 0.3  # seconds for what must not


def add(item: object) -> Operation:
    return Operation(Verb.ADD, item)  # type: ignore[arg-type]


def veth(name: str, peer: str, *, master: str | None = None) -> Operation:
    return add(Link(name, Veth("eth0", peer), master=master, hairpin=True if master else None))


def end(address: str, *routes: Route) -> list[Operation]:
    return [Operation(Verb.SET, Link("eth0")), add(Address("eth0", address)), *map(add, routes)]


def wire(kernel: LinuxKernel, node: str, pod1: str, pod2: str, far: str) -> None:
    """Make the drawing above."""
    settings = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0", "net/bridge/bridge-nf-call-iptables": "1"}
    kernel.perform(
        node,
        [
            add(Link("cni0", Bridge())),
            veth("veth1", pod1, master="cni0"),
            veth("veth2", pod2, master="cni0"),
            veth("eth0", far),
            add(Address("cni0", f"{GATEWAY}/24")),
            add(Address("eth0", f"{NODE}/16")),
            add(Route("10.244.2.0/24", gateway=CLIENT, device="eth0")),
            add(Route("0.0.0.0/0", gateway=CLIENT, device="eth0")),
            *(Operation(Verb.SET, Sysctl(path, value)) for path, value in settings.items()),
        ],
    )
    for pod, address in ((pod1, POD1), (pod2, POD2)):
        kernel.perform(pod, end(f"{address}/24", Route("0.0.0.0/0", gateway=GATEWAY, device="eth0")))
    kernel.perform(far, end(f"{CLIENT}/16", Route("0.0.0.0/0", gateway=NODE, device="eth0")))
    kernel.perform(far, [add(Address("lo", f"{FAR_POD}/32"))])


BOTH, REMOTE = (POD1, FAR_POD), (FAR_POD,)
PORTS = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]


def service(number: int, endpoints: tuple[str, ...], *, lb: str = "", **spec: object) -> tuple[object, object]:
    name = {"name": f"s{number}", "namespace": "ns"}
    ports = [{**p, "nodePort": 30000 + number} for p in PORTS]
    body = {"clusterIP": f"10.96.0.{number}", "ports": ports, "type": "NodePort", **spec}
    status = {"loadBalancer": {"ingress": [{"ip": lb}]}} if lb else {}
    targets = [{"name": "http", "port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"}]
    members = [{"addresses": [e], "nodeName": f"node{e.split('.')[2]}"} for e in endpoints]  # as it happens, NODE too
    labels = {"kubernetes.io/service-name": f"s{number}"}
    return (
        SERVICES.decode({"metadata": name, "spec": body, "status": status}),
        ENDPOINT_SLICES.decode({"metadata": {**name, "labels": labels}, "ports": targets, "endpoints": members}),
    )


OBJECTS = [
    service(1, BOTH),
    service(2, ()),
    service(3, BOTH, externalTrafficPolicy="Local"),
    service(4, REMOTE, externalTrafficPolicy="Local", internalTrafficPolicy="Local"),
    service(5, REMOTE, type="LoadBalancer", lb=LB, loadBalancerSourceRanges=["172.30.1.0/24"]),
    service(6, BOTH, sessionAffinity="ClientIP"),
    service(7, (NODE,), internalTrafficPolicy="Local"),  # as kube-dns here: the endpoint is the node itself
    service(8, (CLIENT,)),  # as the Service kubernetes: the endpoint is no pod
]


@dataclass
class Lab:
    kernel: LinuxKernel
    paths: dict[str, str]
    tcp: dict[str, socket.socket]  # address of a pod (or the client) -> its listening socket
    udp: dict[str, socket.socket]

    def connect(self, source: str, destination: str, port: int, patience: float = PATIENCE) -> tuple[str, str] | str:
        """Return which server answered and the source that it saw, or what happened instead."""
        with ExitStack() as stack:
            with self.kernel.inside(self.paths[source]):
                client = stack.enter_context(socket.socket())
            client.settimeout(patience)
            try:
                client.connect((destination, port))
            except ConnectionRefusedError:
                return "refused"
            except TimeoutError:
                return "silence"
            ready, _, _ = select.select(list(self.tcp.values()), [], [], PATIENCE)
            accepted, peer = ready[0].accept()
            accepted.close()
            return next(name for name, server in self.tcp.items() if server is ready[0]), str(peer[0])

    def send(self, source: str, destination: str, port: int, patience: float = PATIENCE) -> tuple[str, str] | str:
        """Send a datagram; return who got it and the source that it saw, or what happened instead."""
        with ExitStack() as stack:
            with self.kernel.inside(self.paths[source]):
                client = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            client.connect((destination, port))
            client.send(b"question")
            ready, _, _ = select.select([*self.udp.values(), client], [], [], patience)
            if not ready:
                return "silence"
            try:
                _, peer = ready[0].recvfrom(64)
            except ConnectionRefusedError:
                return "refused"
            ready[0].sendto(b"answer", peer)
            client.settimeout(PATIENCE)
            assert client.recv(64) == b"answer"
            return next(name for name, server in self.udp.items() if server is ready[0]), str(peer[0])


@pytest.fixture(params=["proxy first", "flannel first"])
def lab(request: pytest.FixtureRequest, linux: LinuxKernel, make_namespace: Callable[[str], str]) -> Iterator[Lab]:
    """The drawing above with the rules of both tables, loaded in either order, and servers in the pods."""
    paths = {name: make_namespace(name) for name in ("node", "pod1", "pod2", "far")}
    wire(linux, *paths.values())
    service_map = build(
        [s for s, _ in OBJECTS],  # type: ignore[misc]
        [p for _, p in OBJECTS],  # type: ignore[misc]
        Node(metadata=ObjectMeta(name="node1")),
        Family.IPV4,
    )
    proxy = compile_services(service_map, ProxyConfig(Family.IPV4, NODE, "10.244.0.0/16", "10.96.0.0/16"))
    tables = [proxy, flannel_rules(Family.IPV4, "10.244.0.0/16", "10.244.1.0/24")]
    for table in tables if request.param == "proxy first" else tables[::-1]:
        linux.nft(paths["node"], render(table))
    with ExitStack() as stack:
        made = Lab(linux, paths, {}, {})
        for address, host in ((POD1, "pod1"), (FAR_POD, "far"), (CLIENT, "far"), (NODE, "node")):
            with linux.inside(paths[host]):
                made.tcp[address] = stack.enter_context(socket.create_server((address, 8080)))
                made.udp[address] = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            made.udp[address].bind((address, 5353))
        yield made


SEEN = [
    ("6.6 pod to ClusterIP", "pod2", "10.96.0.1", 80, {(POD1, POD2), (FAR_POD, POD2)}),
    ("6.8 hairpin", "pod1", "10.96.0.1", 80, {(POD1, GATEWAY), (FAR_POD, POD1)}),
    ("6.7 outside to ClusterIP", "far", "10.96.0.1", 80, {(POD1, GATEWAY), (FAR_POD, NODE)}),
    ("6.9 node to ClusterIP", "node", "10.96.0.1", 80, {(POD1, GATEWAY), (FAR_POD, NODE)}),
    ("6.5 NodePort Cluster", "far", NODE, 30001, {(POD1, GATEWAY), (FAR_POD, NODE)}),
    ("6.9 node to its NodePort", "node", NODE, 30001, {(POD1, GATEWAY), (FAR_POD, NODE)}),
    ("6.5 NodePort Local", "far", NODE, 30003, {(POD1, CLIENT)}),
    ("6.4 pod to NodePort Local", "pod2", NODE, 30003, {(POD1, POD2), (FAR_POD, POD2)}),
    ("6.4 pod to NodePort Local, none here", "pod2", NODE, 30004, {(FAR_POD, POD2)}),
    ("6.4 node to NodePort Local, none here", "node", NODE, 30004, {(FAR_POD, NODE)}),
    ("4.11 node to load balancer address", "node", LB, 80, {(FAR_POD, NODE)}),
    ("pod to a Service of the node itself", "pod2", "10.96.0.7", 80, {(NODE, POD2)}),
    ("node to a Service of itself", "node", "10.96.0.7", 80, {(NODE, GATEWAY)}),  # over lo: the first address in the node
    ("pod to a Service outside the pod network", "pod2", "10.96.0.8", 80, {(CLIENT, NODE)}),
    ("1.2 pod to pod", "pod2", POD1, 8080, {(POD1, POD2)}),
    ("1.4 pod to outside", "pod2", CLIENT, 8080, {(CLIENT, NODE)}),
]
REFUSED = [
    ("6.3 no endpoint, from a pod", "pod2", "10.96.0.2", 80),
    ("6.3 no endpoint, from the node", "node", "10.96.0.2", 80),
    ("6.3 no endpoint, at the node port", "far", NODE, 30002),
    ("6.3 no endpoint, at the node's own node port", "node", NODE, 30002),
    ("8.5 a port that the ClusterIP has not", "pod2", "10.96.0.1", 81),
    ("6.11 node port on localhost", "node", "127.0.0.1", 30001),
]
SILENT = [
    ("6.3 Local, none here", "far", NODE, 30004),
    ("4.21 internal Local, none here", "pod2", "10.96.0.4", 80),
    ("8.5 an address that no Service has", "pod2", "10.96.9.9", 80),
    ("6.12 source out of range", "far", LB, 80),
    ("6.12 pod out of range", "pod2", LB, 80),
]


def test_connections_reach_the_right_endpoints_with_the_right_source(lab: Lab) -> None:
    """Which endpoints serve a connection, and the client address they see, for each kind of path."""
    seen = {name: {lab.connect(s, d, p) for _ in range(ATTEMPTS if len(want) > 1 else 4)} for name, s, d, p, want in SEEN}

    assert {name: want for name, *_, want in SEEN} == seen


def test_refusal_and_silence_are_told_apart(lab: Lab) -> None:
    """Without any endpoint a connection is refused at once; where policy or ranges forbid it, nothing answers."""
    outcomes = {name: lab.connect(s, d, p) for name, s, d, p in REFUSED}
    outcomes |= {name: lab.connect(s, d, p, SILENCE) for name, s, d, p in SILENT}

    assert {**{r[0]: "refused" for r in REFUSED}, **{r[0]: "silence" for r in SILENT}} == outcomes


DATAGRAMS = [
    ("pod2", "10.96.0.1", 53, {(POD1, POD2), (FAR_POD, POD2)}),
    ("far", NODE, 30003, {(POD1, CLIENT)}),
    ("pod2", "10.96.0.7", 53, {(NODE, POD2)}),
    ("node", "10.96.0.7", 53, {(NODE, GATEWAY)}),
    ("pod2", "10.96.0.2", 53, {"refused"}),
    ("far", NODE, 30004, {"silence"}),
]


def test_datagrams_are_served_alike(lab: Lab) -> None:
    """UDP goes through the same chains, and the answer comes from the address that was asked."""
    seen = [
        {lab.send(s, d, p, SILENCE if want == {"silence"} else PATIENCE) for _ in range(ATTEMPTS if len(want) > 1 else 1)}
        for s, d, p, want in DATAGRAMS
    ]

    assert [want for *_, want in DATAGRAMS] == seen


def test_a_client_stays_with_its_endpoint(lab: Lab) -> None:
    """With session affinity all connections of a client go to one endpoint, by whatever address (semantics 6.24)."""
    seen = {lab.connect("far", *to) for to in (("10.96.0.6", 80), (NODE, 30006)) * (ATTEMPTS // 2)}

    assert 1 == len(seen)
