"""The load balancer with real packets: client - edge - two nodes, each a namespace; nodes run small TCP and UDP servers."""

from __future__ import annotations

import selectors
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from netlab.dataplane.state import KERNEL_RULES, MAIN_TABLE, Address, Link, NamespaceState, Operation, Route, Sysctl, Verb, Veth
from netlab.edge.frontends import Backend, Frontend
from netlab.edge.programming import Programmer
from netlab.edge.rules import Balancing
from netlab.family import Family
from netlab.kernel.door import DRAFT_COMMITS
from netlab.kernel.linux import LinuxKernel

pytestmark = pytest.mark.netns

ADDRESS = "198.51.100.1"
CLIENT, STRANGER = "203.0.113.10", "203.0.113.11"
ONE, TWO = Backend("node1", "172.30.1.1"), Backend("node2", "172.30.2.1")
WEB = Frontend("default", "web", "tcp", 80, 30080, (ADDRESS,))
DNS = Frontend("default", "dns", "udp", 53, 30053, (ADDRESS,))
GUARDED = replace(WEB, service="guarded", port=81, source_ranges=(f"{CLIENT}/32",))
STICKY = replace(WEB, service="sticky", port=82, affinity_timeout=60)
DEAD = replace(WEB, service="dead", port=83)
DIRECT = replace(WEB, service="direct", port=84, node_port=0)
DIRECT_UDP = replace(DNS, service="direct-dns", node_port=0)
ALL = frozenset({ADDRESS})
PATIENCE = 10.0  # seconds for what must come
SILENCE = 0.5  # for what must not


class NodeServer(threading.Thread):
    """Answers every connection and datagram with the node's name and the address it saw."""

    TCP_PORT, UDP_PORT = 30080, 30053

    def __init__(self, name: str, kernel: LinuxKernel, path: str) -> None:
        super().__init__(daemon=True)
        self._node = name
        with kernel.inside(path):
            self._tcp = socket.create_server(("0.0.0.0", self.TCP_PORT))
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp.bind(("0.0.0.0", self.UDP_PORT))
        self._end, self._asked_to_end = socket.socketpair()

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for ready in (self._tcp, self._udp, self._asked_to_end):
                selector.register(ready, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._asked_to_end:
                        return
                    self._answer(key.fileobj)

    def _answer(self, ready) -> None:
        if ready is self._tcp:
            connection, (source, _) = ready.accept()
            with connection:
                connection.sendall(f"{self._node} {source}".encode())
        else:
            _, sender = ready.recvfrom(100)
            ready.sendto(f"{self._node} {sender[0]}".encode(), sender)

    def end(self) -> None:
        self._end.send(b"x")
        self.join()
        for used in (self._tcp, self._udp, self._end, self._asked_to_end):
            used.close()


@dataclass
class Net:
    """The namespaces, by host name."""

    kernel: LinuxKernel
    paths: dict[str, str]

    def cable(self, host: str, interface: str, address: str, edge_interface: str, edge_address: str) -> None:
        """Join a host to the edge."""
        link = Link(edge_interface, Veth(interface, self.paths[host]))
        self.apply("edge", [link, Address(edge_interface, edge_address)])
        self.apply(host, [Link(interface), Address(interface, address)], verb=Verb.SET)
        self.apply(host, [Route("0.0.0.0/0", interface, edge_address.partition("/")[0])])

    def apply(self, host: str, items, verb: Verb = Verb.ADD) -> None:
        operations = [Operation(verb if isinstance(item, Link) else Verb.ADD, item) for item in items]
        self.kernel.perform(self.paths[host], operations)

    def ask(self, host: str, port: int, source: str = "", patience: float = PATIENCE) -> str:
        """Connect from a host to the load balancer and return what the node says, or the error's name."""
        with self.kernel.inside(self.paths[host]):
            asking = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with asking:
            asking.settimeout(patience)
            if source:
                asking.bind((source, 0))
            try:
                asking.connect((ADDRESS, port))
                return asking.recv(100).decode()
            except OSError as error:
                return type(error).__name__

    def datagrams(self) -> socket.socket:
        with self.kernel.inside(self.paths["client"]):
            asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.settimeout(PATIENCE)
        asking.connect((ADDRESS, 53))
        return asking


@pytest.fixture
def net(linux: LinuxKernel, make_namespace: Callable[[str], str]) -> Iterator[Net]:
    hosts = Net(linux, {host: make_namespace(host) for host in ("client", "edge", "node1", "node2")})
    hosts.cable("client", "eth0", f"{CLIENT}/24", "eth1", "203.0.113.1/24")
    hosts.apply("client", [Address("eth0", f"{STRANGER}/24")])
    hosts.cable("node1", "eth0", "172.30.1.1/24", "eth2", "172.30.1.254/24")
    hosts.cable("node2", "eth0", "172.30.2.1/24", "eth3", "172.30.2.254/24")
    hosts.kernel.perform(hosts.paths["edge"], [Operation(Verb.SET, Sysctl("net/ipv4/ip_forward", "1"))])
    servers = [NodeServer(node, linux, hosts.paths[node]) for node in ("node1", "node2")]
    for server in servers:
        server.start()
    yield hosts
    for server in servers:
        server.end()


@pytest.fixture
def programmer(net: Net) -> Programmer:
    made = Programmer(net.kernel, net.paths["edge"], Family.IPV4)
    both = (ONE, TWO)
    made.program(Balancing({WEB: both, DNS: (ONE,), GUARDED: both, STICKY: both, DEAD: ()}, both), ALL)
    return made


@pytest.mark.usefixtures("programmer")
def test_edge_spreads_and_keeps_the_source(net: Net):
    """Connections reach both nodes, which see the client's own address."""
    answers = {net.ask("client", 80) for _ in range(30)}

    assert {f"node1 {CLIENT}", f"node2 {CLIENT}"} == answers


@pytest.mark.usefixtures("programmer")
def test_edge_outcomes(net: Net):
    """A Service without a healthy node and a closed port refuse; who is outside of the source ranges hears nothing."""
    stranger = net.ask("client", 81, STRANGER, SILENCE)
    outcomes = [net.ask("client", 83), net.ask("client", 99), stranger, net.ask("client", 81)[5:]]

    assert ["ConnectionRefusedError", "ConnectionRefusedError", "TimeoutError", f" {CLIENT}"] == outcomes


@pytest.mark.usefixtures("programmer")
def test_edge_affinity_keeps_the_node(net: Net):
    """With session affinity all connections of a client reach one node."""
    assert 1 == len({net.ask("client", 82) for _ in range(20)})


def test_edge_avoids_an_unhealthy_node(net: Net, programmer: Programmer):
    """A node that became unhealthy gets no new connection."""
    programmer.program(Balancing({WEB: (TWO,)}, (ONE, TWO)), ALL)

    assert {f"node2 {CLIENT}"} == {net.ask("client", 80) for _ in range(20)}


def test_edge_moves_udp_flows(net: Net, programmer: Programmer):
    """A client that keeps its port reaches the new node at once."""
    with net.datagrams() as asking:
        asking.send(b"x")
        before = asking.recv(100)
        programmer.program(Balancing({DNS: (TWO,)}, (ONE, TWO)), ALL)
        asking.send(b"x")
        after = asking.recv(100)

    assert (f"node1 {CLIENT}".encode(), f"node2 {CLIENT}".encode()) == (before, after)


def take_directly(net: Net) -> None:
    """Have the nodes take the load balancer's address as their service proxy does; a server's port stands for an endpoint."""
    ways = (f"tcp dport 84 redirect to :{NodeServer.TCP_PORT}", f"udp dport 53 redirect to :{NodeServer.UDP_PORT}")
    rules = [f"add rule ip proxy nat ip daddr {ADDRESS} {way}" for way in ways]
    chain = "add chain ip proxy nat { type nat hook prerouting priority -100 ; }"
    for host in ("node1", "node2"):
        net.kernel.nft(net.paths[host], "\n".join(["add table ip proxy", chain, *rules, ""]))


@pytest.fixture
def direct(net: Net) -> Programmer:
    take_directly(net)
    setting = Sysctl("net/ipv4/conf/all/accept_local", "1")  # as `dataplane.fabric` sets it for the edge
    net.kernel.perform(net.paths["edge"], [Operation(Verb.SET, setting)])
    made = Programmer(net.kernel, net.paths["edge"], Family.IPV4)
    made.program(Balancing({DIRECT: (ONE, TWO), DIRECT_UDP: (ONE,), DEAD: ()}, (ONE, TWO)), ALL)
    return made


@pytest.mark.usefixtures("direct")
def test_edge_sends_on_as_it_came(net: Net):
    """Without node port both nodes get connections to the load balancer's own address; other ports are refused here."""
    answers = {net.ask("client", 84) for _ in range(30)}
    outcomes = [net.ask("client", 83), net.ask("client", 99)]

    assert {f"node1 {CLIENT}", f"node2 {CLIENT}"} == answers
    assert ["ConnectionRefusedError"] * 2 == outcomes


def test_edge_sends_on_to_healthy_nodes(net: Net, direct: Programmer):
    """An unhealthy node gets no new connection, and a UDP client that keeps its port reaches the new node at once."""
    with net.datagrams() as asking:
        asking.send(b"x")
        before = asking.recv(100)
        direct.program(Balancing({DIRECT: (TWO,), DIRECT_UDP: (TWO,)}, (ONE, TWO)), ALL)
        asking.send(b"x")
        after = asking.recv(100)

    assert (f"node1 {CLIENT}".encode(), f"node2 {CLIENT}".encode()) == (before, after)
    assert {f"node2 {CLIENT}"} == {net.ask("client", 84) for _ in range(20)}


def test_edge_answers_a_node_that_it_sends_on(net: Net, direct: Programmer):
    """A node's own connection comes back through the edge, even when the node it is sent to is itself."""
    direct.program(Balancing({DIRECT: (ONE,)}, (ONE, TWO)), ALL)

    assert ["node1 172.30.1.254"] * 2 == [net.ask("node1", 84), net.ask("node1", 84)]


def test_edge_repairs_its_routing_rules(net: Net, direct: Programmer):
    """A resync puts back a rule and a route that somebody deleted; a process that never needed them has the kernel's own."""
    path, wanted = net.paths["edge"], Balancing({DIRECT: (ONE, TWO)}, (ONE, TWO))
    direct.program(wanted, ALL)
    state = net.kernel.observe(path, policy=True)
    routes = [route for route in state.routes if route.table != MAIN_TABLE]
    net.kernel.perform(path, [Operation(Verb.DELETE, state.rules[0]), *(Operation(Verb.DELETE, route) for route in routes)])
    direct.program(wanted, ALL, resync=True)
    repaired = net.kernel.observe(path, policy=True)
    direct.program(Balancing({WEB: (ONE,)}, (ONE, TWO)), ALL)
    without_such_a_port = net.kernel.observe(path, policy=True)
    Programmer(net.kernel, path, Family.IPV4).program(Balancing({WEB: (ONE,)}, (ONE, TWO)), ALL)

    assert 2 == len(routes)
    assert (set(state.rules), set(state.routes)) == (set(repaired.rules), set(repaired.routes))
    assert (set(state.rules), set(state.routes)) == (set(without_such_a_port.rules), set(without_such_a_port.routes))
    assert KERNEL_RULES == net.kernel.observe(path, policy=True).rules


FOREIGN = [
    "pref 60 from 9.9.9.9 prohibit",
    "pref 61 iif eth1 lookup 5555",
    "pref 100 from 10.9.9.9 lookup main",
    "pref 63 goto 200",
]


@pytest.mark.parametrize("rule", FOREIGN)
def test_edge_leaves_rules_of_others(net: Net, direct: Programmer, rule: str):
    """A routing rule of another program stays, and does not stop the edge."""
    path = net.paths["edge"]
    ip = ["ip", "-n", path.rpartition("/")[2], "rule"]
    subprocess.run([*ip, "add", *rule.split()], check=True)
    before = subprocess.run(ip, capture_output=True, check=True).stdout
    direct.program(Balancing({DIRECT: (ONE, TWO)}, (ONE, TWO)), ALL, resync=True)

    assert before == subprocess.run(ip, capture_output=True, check=True).stdout


def test_edge_keeps_connections_when_the_port_goes(net: Net, direct: Programmer):
    """A connection that is open when its Service gets a node port, or goes, keeps its node (semantics 6.19)."""
    path = net.paths["edge"]
    with net.kernel.inside(net.paths["client"]):
        client = socket.socket()
    with net.kernel.inside(net.paths["node1"]):
        server = socket.create_server(("0.0.0.0", 30081))
    net.kernel.nft(net.paths["node1"], f"add rule ip proxy nat ip daddr {ADDRESS} tcp dport 86 redirect to :30081\n")
    kept = replace(DIRECT, service="kept", port=86)
    direct.program(Balancing({kept: (ONE,)}, (ONE, TWO)), ALL)
    with client, server:
        client.settimeout(PATIENCE)
        client.connect((ADDRESS, 86))
        accepted, _ = server.accept()
        with accepted:
            direct.program(Balancing({replace(kept, node_port=30081): (ONE,)}, (ONE, TWO)), ALL)
            accepted.sendall(b"1")
            first = client.recv(1)
            direct.program(Balancing({}, (ONE, TWO)), ALL)
            client.sendall(b"2")
            accepted.settimeout(PATIENCE)
            second = accepted.recv(1)

    assert (b"1", b"2") == (first, second)
    assert len(net.kernel.observe(path, policy=True).rules) > len(KERNEL_RULES)


def test_edge_answers_a_node_through_itself(net: Net, programmer: Programmer):
    """A node that uses the load balancer sees it answer: the way back leads through the edge."""
    programmer.program(Balancing({WEB: (TWO,)}, (ONE, TWO)), ALL)

    assert "node2 172.30.2.254" == net.ask("node1", 80)


def test_edge_repairs_and_writes_nothing_twice(net: Net, programmer: Programmer):
    """A second round writes nothing; a resync repairs a flushed chain and a lost address."""
    wanted = Balancing({WEB: (ONE,), GUARDED: (ONE, TWO), STICKY: (ONE, TWO), DEAD: ()}, (ONE, TWO))
    path = net.paths["edge"]
    programmer.program(wanted, ALL)
    net.ask("client", 82)  # the client is in an affinity set now, which is not damage
    generation = net.kernel.nft_generation(path)
    programmer.program(wanted, ALL)
    programmer.program(wanted, ALL, resync=True)
    Programmer(net.kernel, path, Family.IPV4).program(wanted, ALL)  # another process, that remembers nothing, and drafts
    unchanged = net.kernel.nft_generation(path) - DRAFT_COMMITS
    net.kernel.nft(path, "flush chain ip netlab-edge nat-prerouting\ndelete chain ip netlab-edge filter-input\n")
    net.kernel.perform(path, [Operation(Verb.DELETE, Address("lo", f"{ADDRESS}/32"))])
    broken = net.ask("client", 80, patience=SILENCE)
    programmer.program(wanted, ALL, resync=True)

    assert (generation, True, f"node1 {CLIENT}") == (unchanged, broken != f"node1 {CLIENT}", net.ask("client", 80))


def test_edge_forgets_what_went_by_others_rules(net: Net, programmer: Programmer):
    """A UDP client that somebody's rules led astray is led right again by the resync that repairs them (semantics 6.18)."""
    wanted = Balancing({DNS: (ONE,)}, (ONE, TWO))
    programmer.program(wanted, ALL)
    astray = "insert rule ip netlab-edge nat-prerouting udp dport 53 dnat to 172.30.2.1:30053\n"
    net.kernel.nft(net.paths["edge"], astray)
    with net.datagrams() as asking:
        asking.send(b"x")
        before = asking.recv(100)
        programmer.program(wanted, ALL, resync=True)
        asking.send(b"x")
        after = asking.recv(100)

    assert (f"node2 {CLIENT}".encode(), f"node1 {CLIENT}".encode()) == (before, after)


def test_edge_takes_the_address_away(net: Net, programmer: Programmer):
    """Without Services the edge has no address but its own, and an empty table."""
    programmer.program(Balancing({}), frozenset())
    state: NamespaceState = net.kernel.observe(net.paths["edge"])

    assert [Address("lo", "127.0.0.1/8")] == [address for address in state.addresses if address.device == "lo"]
