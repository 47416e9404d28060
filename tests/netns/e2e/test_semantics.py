"""What re-implementations of Kubernetes' network get wrong (semantics 18), asked with real packets in one rich lab.

`semantics.yaml` is the lab, `richlab.py` the words of the rows. Tests that edit the lab start from the base file.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack

import dns.message
import dns.query
import pytest
from labdriver import LabDriver, run
from richlab import DROPPED, PATIENCE, REFUSED, Load, RichLab

WEB = {"web@node1", "web@node2"}
CALLERS = {"caller@node1", "caller@node2", "caller@node3"}


@pytest.fixture(scope="module")
def the_lab(tmp_path_factory):
    """The rich lab, for all tests of this module."""
    lab = RichLab(LabDriver(f"s{os.getpid()}"), tmp_path_factory.mktemp("semantics") / "semantics.yaml")
    lab.up()
    yield lab
    run("down", lab.driver.name)


@pytest.fixture
def rich(the_lab):
    """The rich lab as its base file says."""
    the_lab.up()
    return the_lab


# ---- 1: who answers, and which source address it sees
# "own": the asker's address, unchanged. A node's name: any address of that node, so it has masqueraded.
ANSWERED = [
    ("pod1", "cip:web", WEB, "own", "6.6 pod to ClusterIP, backends here and elsewhere"),
    ("node1", "cip:web", WEB, "node1", "6.7 and 6.9 node to ClusterIP"),
    ("node3", "cip:web", WEB, "node3", "6.9 node without a backend to ClusterIP"),
    ("alone", "cip:alone", {"alone"}, "node3", "6.8 hairpin through the ClusterIP"),
    ("alone", "np3:30083", {"alone"}, "node3", "6.8 hairpin through the own node's port"),
    ("alone", "np1:30083", {"alone"}, "node1", "6.8 hairpin through another node's port"),
    ("client", "np3:30081", WEB, "node3", "6.5 ETP Cluster, node without backend"),
    ("client", "np1:30081", WEB, "node1", "6.5 ETP Cluster masquerades for a local backend too"),
    ("pod3", "np3:30081", WEB, "node3", "6.5 ETP Cluster masquerades pods as well"),
    ("client", "np1:30080", {"web@node1"}, "own", "6.5 ETP Local keeps the client's address"),
    ("client", "lb:web-local", WEB, "own", "6.5 ETP Local through the load balancer"),
    ("pod3", "np3:30080", WEB, "own", "6.4 ETP Local, pod to its own node: all endpoints"),
    ("pod3", "lb:web-local", WEB, "own", "6.4 ETP Local, pod to the load balancer address: all endpoints"),
    ("node3", "np3:30080", WEB, "node3", "6.4 ETP Local, the node to itself: all endpoints"),
    ("node3", "lb:web-local", WEB, "node3", "6.4 ETP Local, the node to the load balancer address"),
    ("pod3", "np1:30080", {"web@node1"}, "node3", "2.31e, 6.4 a pod is outside for another node, and masqueraded by its own"),
    ("pod1", "cip:web-internal", {"web@node1"}, "own", "4.21 ITP Local"),
    ("node2", "cip:web-internal", {"web@node2"}, "node2", "4.21 ITP Local, from the node itself"),
    ("pod1", "192.0.2.7", WEB, "node1", "4.12 an external address that no node has, ETP Cluster"),
    ("pod3", "192.0.2.8", WEB, "own", "4.12, 6.4 the same under ETP Local"),
    ("client", "lb:web-ranges", WEB, "any", "6.12 inside the source ranges"),
    ("client", "lb:web-direct", WEB, "any", "4.10 a load balancer address without node ports"),
    ("client", "lb:web-direct-local", WEB, "own", "4.10, 6.5 the same under ETP Local"),
    ("pod1", "lb:web-direct-local", WEB, "own", "4.10, 6.4 the same from a pod"),
    ("stranger", "np1:30082", WEB, "node1", "6.12 source ranges do not concern node ports"),
    ("pod2", "cip:web-ranges", WEB, "own", "6.12 source ranges do not concern the ClusterIP"),
    ("pod1", "cip:named", {"named-a", "named-b"}, "own", "4.7 and 4.8 one port name, two numbers, one pod without it"),
    ("pod1", "cip:both:81", WEB | {"web2@node2"}, "own", "4.22 two Deployments behind one Service, by its second port"),
    ("pod3", "cip:onhost", {"onhost"}, "node3", "1.7 a backend on its node's network is outside the pod network"),
    ("node2", "cip:onhost", {"onhost"}, "node2", "1.7 the backend's own node"),
    ("pod1", "cip:lazy-published", {"lazy"}, "own", "4.19 publishNotReadyAddresses"),
]  # fmt: skip


@pytest.mark.parametrize(("who", "whom", "servers", "source"), [row[:4] for row in ANSWERED], ids=[row[4] for row in ANSWERED])
def test_answered(rich, who, whom, servers, source):
    """The right servers answer, all of them and nobody else, and see the right source address."""
    seen, sources = rich.ask_often(who, whom, servers)

    assert servers == seen
    if source != "any":
        assert sources <= ({rich.address(who)} if source == "own" else rich.addresses(source))


# ---- 2: refused and dropped are different answers
NOT_ANSWERED = [
    ("pod1", "cip:nobody", REFUSED, "6.3 no endpoint anywhere"),
    ("node1", "cip:nobody", REFUSED, "6.3 the same from a node"),
    ("client", "np2:30090", REFUSED, "6.3 the same by node port"),
    ("pod1", "cip:nobody-local", REFUSED, "6.3 no endpoint anywhere, ITP Local"),
    ("client", "np2:30091", REFUSED, "6.3 no endpoint anywhere, ETP Local"),
    ("pod1", "cip:lazy", REFUSED, "5.4 only an unready endpoint"),
    ("client", "np3:30080", DROPPED, "6.3 ETP Local, endpoints on other nodes"),
    ("node1", "np3:30080", DROPPED, "6.3 ETP Local, asked by another node"),
    ("pod3", "cip:web-internal", DROPPED, "6.3 ITP Local, endpoints on other nodes"),
    ("node3", "cip:web-internal", DROPPED, "6.3 ITP Local, from the node itself"),
    ("stranger", "lb:web-ranges", DROPPED, "6.12 outside the source ranges"),
    ("stranger", "lb:web-direct", DROPPED, "6.12 outside the source ranges, without node ports"),
    ("client", "lb:web-direct-local:81", REFUSED, "4.10 a port that the load balancer's address does not have"),
    ("pod1", "lb:web-ranges", DROPPED, "6.12 a pod is outside them too"),
    ("pod1", "cip:web:81", REFUSED, "8.5 a port that the ClusterIP does not have"),
    ("node1", "cip:web:81", REFUSED, "8.5 the same from a node"),
    ("pod1", "10.96.99.99", DROPPED, "8.5 an address of the Service range that no Service has"),
    ("node1", "127.0.0.1:30081", REFUSED, "6.11 localhost has no node ports"),
    ("pod1", "10.244.1.1:30081", REFUSED, "6.10 only the node's primary address has"),
]  # fmt: skip


@pytest.mark.parametrize(("who", "whom", "expected"), [row[:3] for row in NOT_ANSWERED], ids=[row[3] for row in NOT_ANSWERED])
def test_not_answered(rich, who, whom, expected):
    """Refused at once, every time (a kernel left alone says it six times and then is silent); or silence."""
    answers = {rich.ask(who, whom).server for _ in range(20 if expected is REFUSED else 1)}

    assert {expected} == answers


@pytest.mark.parametrize(("whom", "path"), [("np1:10256", "/healthz"), ("np3:10256", "/livez")])
def test_health_of_the_proxy(rich, whom, path):
    """6.17: every node's service proxy says that it keeps up."""
    assert "200" == rich.http_code(whom, path)


def test_health_check_node_port(rich):
    """6.15: a node without a ready endpoint of a Service with policy Local tells load balancers so."""
    assert ["200", "200", "503"] == [rich.health(node, "web-local") for node in ("np1", "np2", "np3")]


# ---- 3: names, as a pod's own programs resolve them
NAMES = [
    ("pod1", "web", "cip:web"),
    ("pod1", "web.default", "cip:web"),
    ("pod1", "web.default.svc", "cip:web"),
    ("pod1", "WEB.default.svc.cluster.local", "cip:web"),
    ("foreigner", "web.default", "cip:web"),
    ("foreigner", "web", ""),
    ("pod1", "peers", "peer"),
    ("pod1", "first.peers", "peer"),
    ("pod1", "no-peers", ""),
    ("pod1", "nobody", "cip:nobody"),
    ("pod1", "db", "203.0.113.10"),
    ("onhost", "web.default.svc.cluster.local", ""),
    ("onhost", "web.default", ""),
    ("onhost", "db.example.com", "203.0.113.10"),
    ("outsider", "web.default.svc.cluster.local", ""),
    ("outsider", "web", ""),
    ("outsider", "db.example.com", "203.0.113.10"),
    ("insider", "web.default.svc.cluster.local", "cip:web"),
    ("insider", "web", "cip:web"),
]


OUTSIDE_DNS = "172.30.0.1"  # the edge's underlay address
HOSTS_NAMES = [
    ("node1", "web.default.svc.cluster.local", ""),
    ("node1", "cluster.local", ""),
    ("node1", "db.example.com", "203.0.113.10"),
    ("client", "web.default.svc.cluster.local", ""),
    ("client", "node2", "172.30.1.2"),
    ("edge", "web.default.svc.cluster.local", ""),
]


@pytest.mark.parametrize(("who", "name", "expected"), NAMES)
def test_names(rich, who, name, expected):
    """11.20 to 11.23: glibc in the pod, with its resolv.conf, finds short names where it should and only there."""
    pod = rich.pod_name(who)
    found = rich.driver.exec(pod, "getent", "ahostsv4", name, check=None).stdout.split()
    wanted = rich.pod("peer")["ip"] if expected == "peer" else expected and rich.target(expected)[0]

    assert wanted == (found[0] if found else "")


@pytest.mark.parametrize(("host", "name", "expected"), HOSTS_NAMES)
def test_names_on_hosts(rich, host, name, expected):
    """11.21: a host's resolver knows the lab's hosts, and nothing of the cluster; what is missing does not exist (rc 2)."""
    found = rich.driver.exec(host, "getent", "ahostsv4", name, check=None)

    assert (expected, 0 if expected else 2) == (" ".join(found.stdout.split()[:1]), found.returncode)


@pytest.mark.parametrize("host", ["node1", "client", "pod1"])
def test_outside_dns_over_tcp(rich, host):
    """11.26: the DNS server outside the cluster answers over TCP as well."""
    query = dns.message.make_query("db.example.com", "A")
    with rich.socket(host) as line:
        line.connect((OUTSIDE_DNS, 53))
        answer = dns.query.tcp(query, OUTSIDE_DNS, timeout=PATIENCE, sock=line)

    assert ["203.0.113.10"] == [str(record) for record in answer.answer[0]]


def test_environment(rich):
    """12: every Service with a ClusterIP of the pod's namespace is in its environment, wherever in the file it stands."""
    hosts = [
        {line.partition("=")[0] for line in rich.driver.exec(pod, "env").stdout.splitlines() if "_SERVICE_HOST=" in line}
        for pod in (rich.pod_name("pod1"), "alone", "foreigner")
    ]

    assert {"WEB_SERVICE_HOST", "NAMED_SERVICE_HOST", "OUTSIDE_SERVICE_HOST", "KUBERNETES_SERVICE_HOST"} <= hosts[0]
    assert hosts[0] == hosts[1]
    assert not {"DB_SERVICE_HOST", "PEERS_SERVICE_HOST"} & hosts[0]
    assert {"KUBERNETES_SERVICE_HOST"} == hosts[2]


def test_exec_enters_the_container_of_a_host_network_pod(rich, monkeypatch):
    """1.7, 11.21, 12: `exec` shows the pod's own resolv.conf, hosts and environment, in the node's network."""
    monkeypatch.setenv("OF_THE_MACHINE", "yes")

    def shown(target):
        script = "cat /etc/resolv.conf /etc/hosts; env; ip -4 -o address"
        text = rich.driver.exec(target, "sh", "-c", script).stdout
        return {mark for mark in MARKS if mark in text}

    assert {"search default.svc.cluster.local", "nameserver 10.96.0.10", "alias.example", "COLOR=green",
            "WEB_SERVICE_HOST=", "172.30.1.1/"} == shown("insider")  # fmt: skip
    assert {"nameserver 172.30.0.1", "OF_THE_MACHINE=yes", "172.30.1.1/"} == shown("node1")


MARKS = ("search default.svc.cluster.local", "nameserver 10.96.0.10", "nameserver 172.30.0.1", "alias.example", "COLOR=green",
         "WEB_SERVICE_HOST=", "OF_THE_MACHINE=yes", "172.30.1.1/")  # fmt: skip


# ---- 4: affinity
STICKY_SECONDS = 1.0


def test_affinity(rich):
    """6.24, 6.25: a client stays, per port; each connection renews; after the timeout it is free again."""
    for port in (80, 81):
        stays(lambda port=port: rich.ask("pod1", f"cip:sticky:{port}").server, 11)
    stays(lambda: rich.ask("pod1", "cip:sticky").server, 3, pause=0.6 * STICKY_SECONDS)  # together longer than the timeout

    freed = set()
    while len(freed) < 2:  # three servers at random
        time.sleep(1.3 * STICKY_SECONDS)
        freed.add(rich.ask("pod1", "cip:sticky").server)


def stays(ask, count, pause=0.0):
    """Ask until so many connections in a row came in time after the one before; each of those must have its server."""
    server, last, kept = "", float("-inf"), 0
    while kept < count:
        time.sleep(pause)
        begun = time.monotonic()
        answered = ask()
        in_time = time.monotonic() - last < STICKY_SECONDS  # a busy machine may let too much time pass: then nothing follows
        assert answered == server or not in_time
        kept = kept + 1 if in_time else 0
        server, last = answered, begun


def service(name, **spec):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def find(documents, kind, name):
    return next(d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)


def udp_pod(name, node):
    """Two servers in one pod: 71 answers with a header line, 72 with the name alone."""
    echo = {"name": "a", "image": "netlab/echo", "ports": [{"containerPort": 71, "protocol": "UDP"}]}
    netexec = {"name": "b", "image": "registry.k8s.io/e2e-test-images/agnhost", "args": ["netexec", "--udp-port=72"]}
    meta = {"name": name, "labels": {"app": "udp"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": node, "containers": [echo, netexec]}}


def udp_service(target, **more):
    ports = [{"port": 53, "protocol": "UDP", "targetPort": target, "nodePort": 30053}]
    return service("udp", type="LoadBalancer", selector={"app": "udp"}, ports=ports, **more)


UDP_STEPS = [  # the objects, and what is answered: one client socket each for the whole walk
    ([udp_service(71), udp_pod("u1", "node3")], "X-Netlab-Pod: u1"),
    ([udp_service(71), udp_pod("u2", "node2")], "X-Netlab-Pod: u2"),
    ([udp_service(72), udp_pod("u2", "node2")], "u2"),
    ([udp_service(72)], REFUSED),
    ([udp_service(72), udp_pod("u3", "node1")], "u3"),
    ([udp_service(72, externalTrafficPolicy="Local"), udp_pod("u3", "node1")], "u3"),
]


def test_udp_flows_follow(rich):
    """6.18: a UDP client that keeps its socket follows every change of endpoints: pod, port, none, one again."""
    flows = [
        ("pod1", "cip:udp:53"),
        ("node1", "cip:udp:53"),
        ("client", "np1:30053"),
        ("client", "lb:udp:53"),
        ("pod3", "lb:udp:53"),
    ]
    with ExitStack() as stack:
        sockets = []
        for objects, answer in UDP_STEPS:
            rich.up(lambda documents, objects=objects: documents.extend(objects))
            if not sockets:
                sockets = [stack.enter_context(rich.socket(who, socket.SOCK_DGRAM)) for who, _ in flows]
                for connection, (_, whom) in zip(sockets, flows, strict=True):
                    connection.connect(rich.target(whom))

            assert [answer] * len(flows) == [rich.ask_datagram(connection) for connection in sockets]


KINDS = [
    ({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}, "vip", REFUSED),
    (
        {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30077}]},
        "vip",
        "web",
    ),
    ({"type": "ExternalName", "externalName": "db.example.com"}, "203.0.113.10", REFUSED),
    ({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}, "vip", REFUSED),
]


def test_types(rich):
    """4.9: ClusterIP, NodePort, ExternalName and back: address, node port and DNS follow, what is left answers nobody."""
    former = ""
    for spec, name, by_node_port in KINDS:
        rich.up(lambda documents, spec=spec: documents.append(service("shift", **spec)))
        found = rich.driver.exec(rich.pod_name("pod1"), "getent", "ahostsv4", "shift").stdout.split()[0]

        assert by_node_port == rich.name(rich.ask("client", "np1:30077").server).partition("@")[0]
        if name == "vip":
            former = rich.service("shift")["clusterIP"]
            assert rich.name(rich.ask("pod1", "cip:shift").server) in WEB
        assert found == (former if name == "vip" else name)
        assert (name == "vip") == (rich.ask("pod1", former).server != DROPPED)


def test_a_renamed_service_keeps_its_node_port(rich):
    """4.5: what leaves the file gives back its node port before the new one asks for it."""
    rich.up(lambda documents: find(documents, "Service", "web-nodeport")["metadata"].update(name="web-renamed"))

    assert rich.name(rich.ask("client", "np1:30081").server) in WEB


# ---- 5: conditions of endpoints, by slices made by hand for the two `web` pods
GOING = {"ready": False, "serving": True, "terminating": True}
DEAF = {"ready": False, "serving": False, "terminating": True}
UNREADY = {"ready": False, "serving": True}
CONDITIONS = [  # of web@node1, of web@node2; who answers pod1 (ClusterIP), the client on node1 and on node2; health of node1
    ({}, {}, WEB, "web@node1", "web@node2", "200", "5.3 no conditions: ready"),
    (GOING, {}, {"web@node2"}, "web@node1", "web@node2", "503", "6.1, 6.2, 6.16 ready elsewhere, terminating here"),
    (GOING, GOING, WEB, "web@node1", "web@node2", "503", "6.1 only terminating ones"),
    (GOING, DEAF, {"web@node1"}, "web@node1", DROPPED, "503", "6.1 the other does not serve"),
    (UNREADY, {}, {"web@node2"}, DROPPED, "web@node2", "503", "6.1 unready and not terminating: never"),
    (UNREADY, DEAF, {REFUSED}, REFUSED, REFUSED, "503", "6.3 nobody usable"),
]


@pytest.mark.parametrize("row", CONDITIONS, ids=[row[-1] for row in CONDITIONS])
def test_conditions(rich, row):
    """Which endpoints get traffic, by their conditions and by traffic policy."""
    first, second, inside, node1, node2, health, _ = row
    rich.up(lambda documents: documents.extend(by_hand(rich, {"conditions": first}, {"conditions": second})))

    assert inside == rich.ask_often("pod1", "cip:hand", inside)[0]
    assert (node1, node2) == tuple(rich.name(rich.ask("client", f"np{n}:30095").server) for n in (1, 2))
    assert health == rich.health("np1", "hand")


def zone(name):
    return {"hints": {"forZones": [{"name": name}]}}


HINTS = [
    (zone("a"), zone("b"), {"web@node1"}, {"web@node2"}, "each its zone"),
    (zone("a"), {}, WEB, WEB, "one without a hint: all"),
    (zone("b"), zone("b"), WEB, {"web@node1", "web@node2"}, "none for zone a: all"),
]


@pytest.mark.parametrize("row", HINTS, ids=[row[-1] for row in HINTS])
def test_hints(rich, row):
    """6.13: zone hints count when every endpoint has one and one is for this zone. node1 is in zone a, node3 in b."""
    first, second, zone_a, zone_b, _ = row
    rich.up(lambda documents: documents.extend(by_hand(rich, first, second)))

    assert (zone_a, zone_b) == (rich.ask_often("pod1", "cip:hand", zone_a)[0], rich.ask_often("pod3", "cip:hand", zone_b)[0])


def by_hand(rich, first, second):
    """Return a Service without selector, and a slice of the `web` pods of node1 and node2 with these fields."""
    pods = [(rich.web("node1"), "node1", first), (rich.web("node2"), "node2", second)]
    endpoints = [{"addresses": [pod["ip"]], "nodeName": node, **fields} for pod, node, fields in pods]
    meta = {"name": "hand-1", "labels": {"kubernetes.io/service-name": "hand"}}
    piece = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4"}
    ports = [{"port": 80, "targetPort": 8080, "nodePort": 30095}]
    balanced = service("hand", type="LoadBalancer", externalTrafficPolicy="Local", ports=ports)
    return [balanced, {**piece, "ports": [{"port": 8080}], "endpoints": endpoints}]


# ---- 6: changes under load
FLOWS = [
    ("pod1", "cip:web"), ("node2", "cip:web"), ("client", "np3:30081"), ("client", "lb:web-local"), ("client", "lb:web-ranges")
]  # fmt: skip


def replicas(count):
    return lambda documents: find(documents, "Deployment", "web")["spec"].update(replicas=count)


def new_template(documents):
    find(documents, "Deployment", "web")["spec"]["template"]["metadata"]["labels"]["version"] = "2"


def a_fourth_node(documents):
    """Add a node, and replicas for it to get some."""
    documents[0]["spec"]["nodes"].append({"name": "node4", "labels": {"role": "web"}})
    replicas(7)(documents)


def unchanged(_documents):
    """Take the node away again, with the replicas on it."""


LIVES = {
    "scale": (replicas(5), replicas(2), replicas(5), replicas(1)),
    "roll": (new_template,),
    "nodes": (a_fourth_node, unchanged, a_fourth_node, unchanged),
}


@pytest.mark.parametrize("edits", LIVES.values(), ids=LIVES)
def test_no_connection_fails(rich, edits):
    """Design 9: endpoints and nodes leave and come under load, by every way in, and no connection is lost."""
    with Load(rich, FLOWS) as load:
        for edit in edits:
            rich.up(edit)

    assert {} == load.failures
    assert all(sum(seen.values()) > 50 for seen in load.answers.values())


def test_readiness_flips(rich):
    """5.4: a pod that says no keeps running and loses its traffic; an open connection stays (6.19)."""
    with rich.socket("pod1") as open_connection:
        open_connection.connect(rich.target("cip:moody"))
        address = rich.pod("moody")["ip"]
        for path, expected in (("/ready/api/fail", REFUSED), ("/ready/api/ok", "moody")):
            rich.ask("node2", f"{address}:8080", path, method="POST")
            deadline = time.monotonic() + 30
            while expected != rich.ask("pod1", "cip:moody").server:
                assert time.monotonic() < deadline
        open_connection.sendall(b"GET / HTTP/1.0\r\n\r\n")

        open_connection.settimeout(PATIENCE)
        assert open_connection.recv(4096).startswith(b"HTTP/1.")
