"""The prober against a small lab made by hand: two nodes with VXLAN, an edge, a client, three pods, one Service in nft.

Nothing of netlab's own data plane takes part: `ip` and `nft` are the oracle.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from netlab.dataplane.names import namespace_path
from netlab.dns.server import DnsServer
from netlab.dns.zone import Zone
from netlab.kernel.namespaces import inside
from netlab.probe.connectivity import LabUnderTest, run_connectivity
from netlab.probe.plan import fake
from netlab.probe.plan.outcome import Outcome
from netlab.probe.report import record as run_record
from netlab.probe.run import sockets
from netlab.probe.run.servers import Servers
from netlab.probe.run.vantage import Keys, Vantage

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("hand_made_lab")]

LAB = f"prb{os.getpid()}"
HOSTS = ("fabric", "edge", "client", "node1", "node2")
PODS = {"a1": ("node1", "10.244.1.2"), "a2": ("node1", "10.244.1.3"), "b1": ("node2", "10.244.2.2")}
VTEP = {1: "02:00:00:00:01:00", 2: "02:00:00:00:02:00"}
NO_AGENT = "differs from what its agent writes"  # right: these tables are made by hand
PROXY = """
table ip kube-proxy {{
  chain prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain output {{ type nat hook output priority -100; jump services; }}
  chain services {{
    ip daddr 10.96.0.5 tcp dport 80 goto cluster-ip
    ip daddr 172.30.1.{n} tcp dport 30080 jump tomasq
    ip daddr 172.30.1.{n} tcp dport 30080 goto backends
  }}
  chain cluster-ips {{ ip daddr {{ 10.96.0.5, 10.96.0.6 }} reject; ip daddr 10.96.0.0/16 drop; }}
  chain cluster-ip {{ ip saddr != 10.244.0.0/16 jump tomasq; goto backends; }}
  chain tomasq {{ meta mark set meta mark or 0x4000; }}
  chain backends {{ numgen random mod 2 vmap {{ 0 : goto one, 1 : goto two }}; }}
  chain one {{ ip saddr 10.244.1.2 jump tomasq; meta l4proto tcp dnat to 10.244.1.2:8080; }}
  chain two {{ ip saddr 10.244.2.2 jump tomasq; meta l4proto tcp dnat to 10.244.2.2:8080; }}
  chain postrouting {{ type nat hook postrouting priority srcnat; meta mark & 0x4000 != 0 masquerade fully-random; }}
  chain refuse {{ type filter hook forward priority -110; jump cluster-ips; }}
  chain refuse-own {{ type filter hook output priority -90; jump cluster-ips; }}
}}
table ip flannel {{
  chain postrouting {{
    type nat hook postrouting priority 101;
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade fully-random
    ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 ip daddr != 10.244.{n}.0/24 masquerade fully-random
  }}
}}
"""


def run(*command: str, text: str = "") -> None:
    subprocess.run(command, input=text.encode(), check=True, timeout=20)


def ip(namespace: str, text: str) -> None:
    run("ip", "-n", f"{LAB}-{namespace}", "-batch", "-", text=text)


def sysctl(namespace: str, *settings: str) -> None:
    run("ip", "netns", "exec", f"{LAB}-{namespace}", "sysctl", "-qw", *settings)


def nft(namespace: str, script: str) -> None:
    run("ip", "netns", "exec", f"{LAB}-{namespace}", "nft", "-f", "-", text=script)


def wire(host: str, device: str, bridge: str, address: str) -> None:
    name = f"{host[:6]}{device}"
    ip(
        host,
        f"link add {device} type veth peer name {name} netns {LAB}-fabric\nlink set {device} up\naddr add {address} dev {device}",
    )
    ip("fabric", f"link set {name} master {bridge}\nlink set {name} up")


def fdb(host: str, verb: str, remote: str) -> None:
    """Change where node1's VTEP sends the frames for node2's."""
    run("bridge", "-n", f"{LAB}-{host}", "fdb", verb, VTEP[2], "dev", "flannel.1", "dst", remote)


def make_node(n: int) -> None:
    host, other = f"node{n}", 3 - n
    wire(host, "eth0", "under", f"172.30.1.{n}/16")
    lines = [
        "route add default via 172.30.0.1",
        f"link add flannel.1 address {VTEP[n]} mtu 1450 type vxlan id 1 dstport 8472 nolearning local 172.30.1.{n} dev eth0",
        f"addr add 10.244.{n}.0/32 dev flannel.1", "link set flannel.1 up",
        f"neigh add 10.244.{other}.0 lladdr {VTEP[other]} dev flannel.1 nud permanent",
        f"route add 10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink",
        "link add cni0 mtu 1450 type bridge", f"addr add 10.244.{n}.1/24 dev cni0", "link set cni0 up",
    ]  # fmt: skip
    ip(host, "\n".join(lines))
    run("bridge", "-n", f"{LAB}-{host}", "fdb", "append", VTEP[other], "dev", "flannel.1", "dst", f"172.30.1.{other}")
    sysctl(host, "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratemask=0", "net.bridge.bridge-nf-call-iptables=1")
    nft(host, PROXY.format(n=n))


def make_pod(name: str) -> None:
    host, address = PODS[name]
    gateway = address.rpartition(".")[0] + ".1"
    pod = f"{LAB}-default-{name}"
    ip(host, f"link add veth{name} mtu 1450 type veth peer name eth0 mtu 1450 netns {pod}\n"
             f"link set veth{name} master cni0\n"
             f"link set veth{name} type bridge_slave hairpin on\nlink set veth{name} up")  # fmt: skip
    ip(f"default-{name}", f"link set eth0 up\naddr add {address}/24 dev eth0\nroute add default via {gateway}")


@pytest.fixture(scope="module")
def hand_made_lab():
    """Make the lab, and remove every namespace of it afterwards."""
    namespaces = [f"{LAB}-{h}" for h in (*HOSTS, *(f"default-{p}" for p in PODS))]
    try:
        for namespace in namespaces:
            run("ip", "netns", "add", namespace)
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        ip("fabric", "link add under type bridge\nlink set under up\nlink add outside type bridge\nlink set outside up")
        wire("edge", "eth0", "under", "172.30.0.1/16")
        wire("edge", "eth1", "outside", "203.0.113.1/24")
        sysctl("edge", "net.ipv4.ip_forward=1")
        wire("client", "eth0", "outside", "203.0.113.10/24")
        ip("client", "route add default via 203.0.113.1")
        for n in (1, 2):
            make_node(n)
        for name in PODS:
            make_pod(name)
        yield LAB
    finally:
        for namespace in namespaces:
            run("ip", "netns", "del", namespace)


def objects():
    web = fake.service("web", type="NodePort", clusterIP="10.96.0.5", ports=[{"port": 80, "targetPort": 8080, "nodePort": 30080}])
    empty = fake.service("empty", clusterIP="10.96.0.6")
    slices = [fake.endpoints("web", ["10.244.1.2", "10.244.2.2"], port=8080)]
    pods = [fake.pod(name, address, image="example/plain") for name, (_, address) in PODS.items()]
    return fake.cluster(services=[web, empty], slices=slices, labs=[fake.lab(LAB)], pods=pods)


async def connectivity(only: str | None = None):
    """Run the prober, with the workloads of Service `web` listening, and the DNS server of nodes and clients."""
    servers, names = Servers(inside), DnsServer(lambda: Zone.outside(""))
    snapshot = fake.snapshot(objects(), LAB)
    for place in snapshot.pod_places:
        servers.stand_in(place, "TCP", 8080)
    with inside(namespace_path(f"{LAB}-edge")):
        await names.start("172.30.0.1")
    try:
        lab = LabUnderTest(LAB, fake.FakeLists(objects()))
        return await run_connectivity(lab, lambda _done, _all: None, only=only)
    finally:
        await servers.close()
        await names.close()


def wrong(record):
    return {(c["path"], c["actual"]) for c in record["checks"] if c["verdict"] != "pass"}


async def test_healthy_lab_passes():
    """Every check of a healthy lab passes, and the evidence shows VXLAN between the nodes."""
    record = await connectivity()

    assert set() == {(c["id"], *c["reasons"]) for c in record["checks"] if c["verdict"] != "pass"}
    assert run_record.tested_anything(record)
    assert not run_record.failed(record)
    way = record["evidence"]["pod-pod-cross-node/default/a1->default/b1/TCP"]
    outers = [h["outer"] for h in way if h["outer"] and not h["answer"]]
    assert {"source": "172.30.1.1", "destination": "172.30.1.2", "port": 8472, "vni": 1} == outers[0]
    assert "default/a1 eth0" == way[0]["where"]


@pytest.mark.parametrize(
    ("break_it", "repair", "only", "expected"),
    [
        pytest.param(
            lambda: sysctl("node2", "net.ipv4.ip_forward=0"), lambda: sysctl("node2", "net.ipv4.ip_forward=1"),
            "pod-pod-cross-node", {("pod-pod-cross-node", "DROPPED")}, id="no forwarding on node2",
        ),
        pytest.param(
            lambda: ip("node1", "link set vetha1 type bridge_slave hairpin off"),
            lambda: ip("node1", "link set vetha1 type bridge_slave hairpin on"),
            "hairpin", {("hairpin", "DROPPED")}, id="hairpin off",
        ),
        pytest.param(
            lambda: nft("node1", "flush chain ip kube-proxy tomasq"),
            lambda: nft("node1", "add rule ip kube-proxy tomasq meta mark set meta mark or 0x4000"),
            "outside-node-port", {("outside-node-port", "WRONG_SOURCE")},
            id="no masquerading on node1",
        ),
        pytest.param(
            lambda: nft("node1", "add rule ip kube-proxy one counter\nflush chain ip kube-proxy two\n"
                                 "add rule ip kube-proxy two meta l4proto tcp dnat to 10.244.1.3:8080"),
            lambda: nft("node1", "flush chain ip kube-proxy two\n"
                                 "add rule ip kube-proxy two meta l4proto tcp dnat to 10.244.2.2:8080"),
            "pod-cluster-ip/default/a1->default/web:80*", {("pod-cluster-ip", "WRONG_BACKEND")}, id="wrong backend",
        ),
        pytest.param(
            lambda: nft("node1", "flush chain ip flannel postrouting"),
            lambda: nft("node1", "add rule ip flannel postrouting ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade"),
            "pod-other-node/default/a1->*", {("pod-other-node", "WRONG_SOURCE")}, id="no egress masquerading",
        ),
        pytest.param(
            lambda: ip("node1", "route replace 10.244.2.0/24 via 172.30.1.2"),
            lambda: ip("node1", "route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"),
            "pod-pod-cross-node/default/a1->*/ICMP", {("pod-pod-cross-node", "NOT_ENCAPSULATED")}, id="no encapsulation",
        ),
        pytest.param(
            lambda: ip("default-a1", "link set eth0 mtu 1400"), lambda: ip("default-a1", "link set eth0 mtu 1450"),
            "mtu-*/default/a1->default/b1/UDP/1422B", {("mtu-cross-node", "MTU")}, id="pod MTU too small",
        ),
    ],
)  # fmt: skip
async def test_broken_lab_is_found_out(break_it, repair, only, expected):
    """A lab broken in one way gives the outcome words of that fault, and a repaired one passes."""
    break_it()
    try:
        broken = await connectivity(only)
    finally:
        repair()
    repaired = await connectivity(only)

    assert expected == wrong(broken)
    assert run_record.failed(broken)
    assert set() == wrong(repaired)


@pytest.mark.parametrize(
    ("break_it", "repair", "only", "hint"),
    [
        (
            lambda: sysctl("node2", "net.ipv4.ip_forward=0"), lambda: sysctl("node2", "net.ipv4.ip_forward=1"),
            "pod-pod-cross-node/*a1->*/ICMP", "node2 does not forward",
        ),
        (
            lambda: ip("node1", "link set vetha1 type bridge_slave hairpin off"),
            lambda: ip("node1", "link set vetha1 type bridge_slave hairpin on"),
            "hairpin/default/a1->*", "hairpin mode is off on vetha1 of node1",
        ),
        (
            lambda: fdb("node1", "del", "172.30.1.2"), lambda: fdb("node1", "append", "172.30.1.2"),
            "pod-pod-cross-node/*a1->*/UDP", "flannel.1 of node1 has no forwarding entry",
        ),
        (
            lambda: (fdb("node1", "del", "172.30.1.2"), fdb("node1", "append", "172.30.0.99")),
            lambda: (fdb("node1", "del", "172.30.0.99"), fdb("node1", "append", "172.30.1.2")),
            "pod-pod-cross-node/*a1->*/UDP", "flannel.1 of node1 sends them to 172.30.0.99",
        ),
    ],
    ids=["forwarding off", "hairpin off", "no forwarding entry", "stale forwarding entry"],
)  # fmt: skip
async def test_hint_names_the_cause(break_it, repair, only, hint):
    """Where the node's state decides it, a failure says why."""
    break_it()
    try:
        broken = await connectivity(only)
    finally:
        repair()
    hints = {h for c in broken["checks"] for h in c.get("hints", []) if NO_AGENT not in h}

    assert 1 == len(hints), broken["checks"]
    assert hint in hints.pop()


async def test_probe_that_breaks_is_not_a_dropped_packet():
    """A pod whose namespace does not exist gives NOT_TESTED for its own checks."""
    ghost = objects()
    ghost["pods"].append(fake.pod("ghost", "10.244.1.9", image="example/plain"))
    lab = LabUnderTest(LAB, fake.FakeLists(ghost))
    record = await run_connectivity(lab, lambda _d, _a: None, only="*/default/ghost->default/a1/TCP")

    assert ["NOT_TESTED"] == [c["actual"] for c in record["checks"]]
    assert not run_record.tested_anything(record)


def own_namespace_and_sockets():
    return Path("/proc/thread-self/ns/net").readlink(), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(("address", "outcome"), [("10.96.0.6", Outcome.REFUSED), ("10.96.0.7", Outcome.DROPPED)])
async def test_a_nodes_own_datagram(address, outcome):
    """`reject` and `drop` in the sender's own output hook both fail the sending with EPERM, and are told apart all the same."""
    vantage = Vantage(f"{LAB}-node1", inside, Keys(1), ports=iter([40000]), timeout=0.3)

    exchange = await sockets.udp(vantage, (address, 7), b"hello")

    assert outcome is exchange.outcome


async def test_nothing_of_a_run_remains():
    """The run leaves its thread in the namespace it came from and no socket behind."""
    before = own_namespace_and_sockets()
    await connectivity("node-node")

    assert before == own_namespace_and_sockets()
