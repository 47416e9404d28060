"""What somebody breaks by hand is found by the right checks, in the right word, with the reason; repaired, all passes.

One lab for all rows. The process that would repair the fault is stopped while it is tested.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from labdriver import LabDriver, run

from netlab.api.resources import DEPLOYMENTS
from netlab.kernel.namespaces import inside
from netlab.lab.find import connect
from netlab.lab.test import connectivity
from netlab.probe.connectivity import LabUnderTest, run_connectivity
from netlab.state import StateDirectory

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Fault:
    """`breaks` is run in `host` (a shell; `$chain` is a kube-proxy chain by `chain`, a pattern), and then undone."""

    name: str
    breaks: str
    only: str
    failing: str
    words: str
    host: str = "node1"
    chain: str = ""
    repairs: str = ""  # empty: the ruleset is put back as it was
    stops: str = ""  # the process to stop; empty: the one that keeps the host
    holds: str = ""  # succeeds while it is broken: what the daemon keeps may be repaired before it was tested


FDB = "set -- $(bridge fdb show dev flannel.1 | head -1); echo $* >$F; "
OTHER_NODE = "case $3 in 172.30.1.2) to=172.30.1.3;; *) to=172.30.1.2;; esac; bridge fdb replace $1 dev flannel.1 dst $to"
NEIGHBOUR = "set -- $(ip neigh show dev flannel.1 | head -1); echo $* >$F; "
ROUTE = "set -- $(ip route show dev flannel.1 | head -1); echo $* >$F; "
SAVED = "set -- $(cat $F); "
HAIRPIN = "for port in /sys/class/net/cni0/brif/*/hairpin_mode; do echo {} >$port; done"
BRIDGED = "sysctl -qw net.bridge.bridge-nf-call-iptables="
FORWARDING = "sysctl -qw net.ipv4.ip_forward="
HOOK = "{{ type filter hook {} priority 0; {} }}"
HOLE = HOOK.format("ingress device eth0", "").join(("nft 'add table netdev hole; add chain netdev hole i ", ";"))
HOLE += " add rule netdev hole i ip length > 1400 drop'"
BIG_TCP = HOOK.format("forward", "").join(("nft 'add table ip foreign; add chain ip foreign forward ", ";"))
BIG_TCP += " add rule ip foreign forward meta l4proto tcp ip length > 100 drop'"
FIREWALL = HOOK.format("forward", "policy drop;").join(("nft 'add table ip foreign; add chain ip foreign forward ", "'"))
TCP_53 = HOOK.format("output", "").join(("nft 'add table ip foreign; add chain ip foreign output ", ";"))
TCP_53 += " add rule ip foreign output tcp dport 53 drop'"
RESOLVER = "nft 'add table ip foreign; add chain ip foreign output { type nat hook output priority -110; };"
RESOLVER += " add rule ip foreign output ip daddr 172.30.0.1 udp dport 53 dnat to 172.30.1.1:53'"
FLUSH = "nft flush chain ip kube-proxy "
REPLACE = FLUSH + "$chain; nft add rule ip kube-proxy $chain "
FIRST = "set -- $(nft list chain ip kube-proxy $chain | grep -o 'endpoint[^ ,}]*'); "
NO_MASQUERADE = FLUSH + "mark-for-masquerade; nft add rule ip kube-proxy mark-for-masquerade meta mark set meta mark"
UNSTICK = "for h in $(nft -a list chain ip kube-proxy $chain | sed -n '/@affinity/s/.*handle //p'); do"
UNSTICK += " nft delete rule ip kube-proxy $chain handle $h; done"
ELSEWHERE = REPLACE + "jump mark-for-masquerade; nft add rule ip kube-proxy $chain meta l4proto udp dnat to 172.30.1.2:53"
ONE_NODE = "nft flush chain ip netlab-edge $chain; nft add rule ip netlab-edge $chain goto"
ONE_NODE += " $(nft list table ip netlab-edge | grep -o 'chain node-[^ ]*default/cluster/[^ ]*' | head -1 | cut -d' ' -f2)"
PODS = "ip saddr 10.244.0.0/16 ip daddr 10.244.0.0/16"

FAULTS = [
    Fault("a forwarding entry deleted", FDB + "bridge fdb del $1 dev flannel.1 dst $3", "pod-pod-*", "pod-pod-cross-node DROPPED",
          "has no forwarding entry", repairs=SAVED + "bridge fdb append $1 dev flannel.1 dst $3"),
    Fault("a forwarding entry to nowhere", FDB + "bridge fdb replace $1 dev flannel.1 dst 172.30.9.9", "pod-pod-*",
          "pod-pod-cross-node DROPPED", "flannel.1 of node1 sends them to 172.30.9.9",
          repairs=SAVED + "bridge fdb replace $1 dev flannel.1 dst $3"),
    Fault("a forwarding entry to another node", FDB + OTHER_NODE, "pod-pod-*",
          "pod-pod-cross-node DROPPED", "flannel.1 of node1 sends frames for pods of",
          repairs=SAVED + "bridge fdb replace $1 dev flannel.1 dst $3"),
    Fault("a blackhole route", "ip route add blackhole 203.0.113.0/24", "node-outside", "node-outside UNREACHABLE",
          "a blackhole route of the sender's host discarded the packet", repairs="ip route del blackhole 203.0.113.0/24"),
    Fault("a prohibited route", "ip route add prohibit 203.0.113.0/24", "node-outside", "node-outside UNREACHABLE",
          "a route of the sender's host prohibits the packet", repairs="ip route del prohibit 203.0.113.0/24"),
    Fault("data lost after the handshake", BIG_TCP, "pod-cluster-ip", "pod-cluster-ip DROPPED",
          "the connection was established, then its data was lost",
          repairs="nft delete table ip foreign"),
    Fault("a rule exchanged for another", NO_MASQUERADE, "node-cluster-ip", "node-cluster-ip WRONG_SOURCE",
          "chain mark-for-masquerade contains `"),
    Fault("a wrong neighbour entry", NEIGHBOUR + "ip neigh replace $1 lladdr 02:11:22:33:44:55 dev flannel.1 nud permanent",
          "pod-pod-*", "pod-pod-cross-node DROPPED", "to MAC 02:11:22:33:44:55, but",
          repairs=SAVED + "ip neigh replace $1 lladdr $3 dev flannel.1 nud permanent"),
    Fault("a route deleted", ROUTE + "ip route del $1", "pod-pod-*", "pod-pod-cross-node DROPPED",
          "node1 has no route to 10.244.", repairs=SAVED + "ip route add $1 via $3 dev flannel.1 onlink"),
    Fault("forwarding off", FORWARDING + "0", "pod-outside", "pod-outside DROPPED", "net.ipv4.ip_forward is 0",
          repairs=FORWARDING + "1",
          holds="test $(sysctl -n net.ipv4.ip_forward) = 0"),
    Fault("bridged packets miss the rules", BRIDGED + "0", "pod-cluster-ip", "pod-cluster-ip DROPPED",
          "net.bridge.bridge-nf-call-iptables is 0", repairs=BRIDGED + "1",
          holds="test $(sysctl -n net.bridge.bridge-nf-call-iptables) = 0"),
    Fault("hairpin mode off", HAIRPIN.format(0), "hairpin", "hairpin DROPPED", "hairpin mode is off", repairs=HAIRPIN.format(1),
          holds="! grep -q 1 /sys/class/net/cni0/brif/*/hairpin_mode"),
    Fault("big packets lost", HOLE, "mtu-*", "mtu-cross-node DROPPED", "last seen at node1 eth0",
          repairs="nft delete table netdev hole"),
    Fault("no translation", FLUSH + "services", "pod-cluster-ip", "pod-cluster-ip REFUSED", "no rule of node1 translated"),
    Fault("a flushed chain is named", FLUSH + "services", "pod-cluster-ip", "pod-cluster-ip REFUSED",
          "table ip kube-proxy of node1 differs from what its agent writes: chain services has no rules instead of 2"),
    Fault("no masquerading by kube-proxy", FLUSH + "mark-for-masquerade", "node-cluster-ip", "node-cluster-ip WRONG_SOURCE",
          "it saw and reported 172.30.1.1: not masqueraded"),
    Fault("no masquerading by flannel", "nft flush chain ip flannel-ipv4 postrtg", "pod-other-node",
          "pod-other-node WRONG_SOURCE", "flannel-ipv4 of node1 differs from what its agent writes: chain postrtg has no rules"),
    Fault("pods masqueraded to pods", f"nft insert rule ip kube-proxy nat-postrouting {PODS} masquerade", "pod-pod-*",
          "pod-pod-cross-node WRONG_SOURCE", "the source was translated"),
    Fault("an endpoint's packets go elsewhere", REPLACE + "meta l4proto tcp dnat to 10.244.3.77:80", "pod-cluster-ip",
          "pod-cluster-ip DROPPED", "10.244.3.77:80", chain="endpoint-[A-Z0-9]*-default/cluster/"),
    Fault("one endpoint gets everything", FIRST + REPLACE + "goto $1", "pod-cluster-ip", "pod-cluster-ip WRONG_BACKEND",
          "never answered in", chain="service-[A-Z0-9]*-default/cluster/"),
    Fault("no affinity", UNSTICK, "pod-cluster-ip", "pod-cluster-ip WRONG_BACKEND", "session affinity:",
          chain="service-[A-Z0-9]*-default/sticky/"),
    Fault("unused ports not refused", FLUSH + "cluster-ips-check", "node-*", "node-cluster-ip-unused-port", "edge eth0"),
    Fault("unassigned addresses not dropped", FLUSH + "cluster-ips-check", "*-unassigned-*",
          "pod-unassigned-cluster-ip", "edge eth0"),
    Fault("no endpoints is not refused here", FLUSH + "service-endpoints-check", "pod-load-balancer", "pod-load-balancer REFUSED",
          "the request ended at edge; node1 must stop it"),
    Fault("no local endpoint is not dropped", FLUSH + "nodeport-endpoints-check", "outside-node-port",
          "outside-node-port REFUSED", "the traffic policy is Local", host="node3"),
    Fault("source ranges ignored", "nft flush chain ip netlab-edge firewall-prerouting", "outside-load-balancer",
          "outside-load-balancer ALLOWED", "loadBalancerSourceRanges", host="edge"),
    Fault("source ranges ignored: the table", "nft flush chain ip netlab-edge firewall-prerouting", "outside-load-balancer",
          "outside-load-balancer ALLOWED",
          "table ip netlab-edge of edge differs from what the edge writes: chain firewall-prerouting has no rules", host="edge"),
    Fault("the edge uses one node", ONE_NODE, "outside-load-balancer", "outside-load-balancer WRONG_BACKEND",
          "the edge never chose", host="edge", chain="service-[a-z0-9]*-default/cluster/"),
    Fault("the edge lost an address", "ip address del 198.51.100.1/32 dev lo", "outside-load-balancer*",
          "outside-load-balancer-unused-port", "198.51.100.1", host="edge", repairs="ip address add 198.51.100.1/32 dev lo"),
    Fault("the edge does not forward", FORWARDING + "0", "outside-*", "outside-node-port DROPPED", "last seen at edge eth1",
          host="edge", repairs=FORWARDING + "1",
          holds="test $(sysctl -n net.ipv4.ip_forward) = 0"),
    Fault("a DNS server stopped", "true", "dns-node", "dns-node DROPPED", "no answer to the datagram"),
    Fault("kube-dns answered elsewhere", ELSEWHERE, "dns-node", "dns-node WRONG_BACKEND", "the query left its node",
          chain="endpoint-[A-Z0-9]*-kube-system/kube-dns/udp/"),
    Fault("a node resolves names of the cluster", RESOLVER, "dns-node-resolver", "dns-node-resolver DNS_FAILED",
          "expected NXDOMAIN, got NOERROR", repairs="nft delete table ip foreign", stops="agent-node2"),  # node1's answers
    Fault("DNS over TCP broken", TCP_53, "dns-node", "dns-node DROPPED", "is truncated (TC), and the retry over TCP failed",
          repairs="nft delete table ip foreign", stops="agent-node2"),  # the agent of node1 has to answer
    Fault("pods' processes stopped", "true", "pod-cluster-ip", "pod-cluster-ip DROPPED", "connected, then no answer",
          stops="workloads-node1"),
    Fault("a foreign firewall", FIREWALL, "pod-pod-*", "pod-pod-same-node DROPPED", "last seen at node1",
          repairs="nft delete table ip foreign"),
]  # fmt: skip


@pytest.fixture(scope="module")
def faulty():
    """One lab with every way into a Service."""
    lab = LabDriver(f"f{os.getpid()}")
    try:
        lab.up(HERE / "faults.yaml")
        yield lab
    finally:
        lab.down()


def shell(lab, fault, text, folder, check=True):
    """Run a text inside the fault's host."""
    table = "netlab-edge" if fault.host == "edge" else "kube-proxy"
    find = (
        f"chain=$(nft list table ip {table} | grep -o 'chain {fault.chain}[^ ]*' | head -1 | cut -d' ' -f2);"
        if fault.chain
        else ""
    )
    namespace = f"{lab.name}-{fault.host}"
    script = f"set -e; F={folder}/state; {find} {text}"
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "sh", "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def broken(lab, fault, folder):
    """Break the lab and test it; once more when the daemon has repaired it in between, as it does every 30 seconds."""
    held = False
    while not held:
        shell(lab, fault, fault.breaks, folder)
        done = run("test", "connectivity", lab.name, "-f", "json", "--only", fault.only, "--timeout", "0.4", check=None)
        held = "held" in shell(lab, fault, f"if {fault.holds or 'true'}; then echo held; fi", folder)
    return done


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_fault(faulty, fault, tmp_path):
    """The check of the broken path fails with its word and reason and exit code 1."""
    ruleset = "flush ruleset\n" + shell(faulty, fault, "nft list ruleset", tmp_path)
    (tmp_path / "rules").write_text(ruleset)
    keeper = faulty.pid(fault.stops or ("edge" if fault.host == "edge" else f"agent-{fault.host}"))
    os.kill(keeper, signal.SIGSTOP)
    try:
        done = broken(faulty, fault, tmp_path)
    finally:
        shell(faulty, fault, fault.repairs or f"nft -f {tmp_path}/rules", tmp_path)
        os.kill(keeper, signal.SIGCONT)
    assert done.returncode == 1
    failed = [
        c for c in json.loads(done.stdout)["checks"] if c["verdict"] == "fail" and fault.failing in f"{c['path']} {c['actual']}"
    ]

    assert failed
    assert any(fault.words in " ".join((*c["reasons"], *c.get("hints", ()))) for c in failed), failed[0]


NOWHERE = REPLACE + "meta l4proto udp dnat to 10.244.3.77:53"
KUBE_DNS = "10.96.0.10"
FEW_PORTS = range(50000, 50400)  # instead of all, so that conntrack has little to remember


def test_a_question_is_a_flow_of_its_own(faulty, tmp_path):
    """What conntrack remembers of questions that a fault led astray leads no question astray once the fault is repaired."""
    fault = Fault("", NOWHERE, "dns-node", "", "", chain="endpoint-[A-Z0-9]*-kube-system/kube-dns/udp/")
    rules = "flush ruleset\n" + shell(faulty, fault, "nft list ruleset", tmp_path)
    (tmp_path / "rules").write_text(rules)
    keeper = faulty.pid("agent-node1")
    os.kill(keeper, signal.SIGSTOP)
    try:
        shell(faulty, fault, fault.breaks, tmp_path)
        with inside(f"/run/netns/{faulty.name}-node1"):
            for port in FEW_PORTS:
                if port % 4:  # an accidental port is one of these three times in four
                    ask(port)
        shell(faulty, fault, f"nft -f {tmp_path}/rules", tmp_path)
    finally:
        os.kill(keeper, signal.SIGCONT)
    with connect(StateDirectory(faulty.name, faulty.state)) as client:
        lab = LabUnderTest(faulty.name, client)
        record = asyncio.run(run_connectivity(lab, lambda _done, _all: None, only="dns-node", ports=FEW_PORTS))
    checks = record["checks"]

    assert [] == [(check["id"], check["reasons"]) for check in checks if check["verdict"] != "pass"]
    assert [check for check in checks if check["source"] == "node1"]


def ask(port):
    """Send kube-dns something from a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind(("", port))
        asking.sendto(b"?", (KUBE_DNS, 53))


def test_change_during_the_test(faulty):
    """A Deployment scaled in the middle of a test fails no check, and gives no hint: its checks are run again."""
    state, scaled = StateDirectory(faulty.name, faulty.state), []

    def scale(done, total):
        if done >= total // 4 and not scaled:
            scaled.append(done)
            with connect(state) as client:
                client.patch(DEPLOYMENTS, "blue", {"spec": {"replicas": 2}}, namespace="default")

    record = connectivity(state, only=None, timeout=1.0, on_progress=scale)

    assert scaled
    assert [] == [(check["id"], check["reasons"]) for check in record["checks"] if check["verdict"] != "pass"]
    assert record["changed"]["dropped"]
    assert any(check["subject"] == "default/cluster" for check in record["checks"] if "subject" in check)


def test_repaired(faulty):
    """With all faults undone every check passes again."""
    assert faulty.test()["totals"]["pass"] > 500
