"""The scripts of the service proxy, given to the real nft: it takes them, and what it lists is what was meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from netlab.api.cluster import Node
from netlab.api.meta import ObjectMeta
from netlab.api.resources import ENDPOINT_SLICES, SERVICES
from netlab.kernel.door import Kernel
from netlab.kernel.tables import canonical
from netlab.netfilter.listing import Listing
from netlab.netfilter.repair import repair
from netlab.netfilter.ruleset import Ruleset
from netlab.netfilter.script import contents, render, transaction
from netlab.overlay.masquerade import flannel_rules
from netlab.probe.judge.hints_rules import differences
from netlab.proxy.frame import FAMILY, TABLE, ProxyConfig
from netlab.proxy.nftables import NftablesCompiler, compile_services
from netlab.proxy.servicemap import ServicePortMap, build

pytestmark = pytest.mark.netns

CONFIG = ProxyConfig(node_ip="172.30.1.1", cluster_cidr="10.244.0.0/16", service_cidr="10.96.0.0/16")
NODE = Node(metadata=ObjectMeta(name="node1"))


def services(count: int, *endpoints: str, **spec: object) -> ServicePortMap:
    """Services ns/s0, ns/s1, ... with ports http 80/TCP and dns 53/UDP and these endpoints."""
    ports = [{"name": "http", "port": 80, "nodePort": 0}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    targets = [{"name": "http", "port": 8080}, {"name": "dns", "port": 5353, "protocol": "UDP"}]
    made, slices = [], []
    for number in range(count):
        name = {"name": f"s{number}", "namespace": "ns"}
        lb = {"loadBalancer": {"ingress": [{"ip": f"198.51.100.{number + 1}"}]}} if spec.get("type") == "LoadBalancer" else {}
        spread = [{**p, "nodePort": 30000 + 2 * number + i} for i, p in enumerate(ports)] if "type" in spec else ports
        made.append(
            SERVICES.decode(
                {"metadata": name, "spec": {"clusterIP": f"10.96.0.{number + 1}", "ports": spread, **spec}, "status": lb}
            )
        )
        members = [{"addresses": [e], "nodeName": f"node{e.split('.')[2]}"} for e in endpoints]
        labels = {"kubernetes.io/service-name": f"s{number}"}
        slices.append(ENDPOINT_SLICES.decode({"metadata": {**name, "labels": labels}, "ports": targets, "endpoints": members}))
    return build(made, slices, NODE)


ONE, TWO = ("10.244.1.5",), ("10.244.1.5", "10.244.2.5")
STATES = [
    ("no Service", {}),
    ("one endpoint", services(2, *ONE)),
    ("two endpoints", services(2, *TWO)),
    ("no endpoint", services(2)),
    ("node ports", services(3, *TWO, type="NodePort")),
    ("Local, none here", services(2, "10.244.2.5", type="NodePort", externalTrafficPolicy="Local")),
    ("Local, one here", services(2, *TWO, type="NodePort", externalTrafficPolicy="Local", internalTrafficPolicy="Local")),
    ("source ranges",
     services(2, *TWO, type="LoadBalancer", loadBalancerSourceRanges=["172.30.0.0/16", "10.0.0.0/8", "10.1.0.0/16"])),
    ("affinity", services(2, *TWO, sessionAffinity="ClientIP")),
    (
        "affinity of another length",
        services(2, *TWO, sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}}),
    ),
    ("no affinity", services(1, *TWO)),
    ("everything", services(2, *TWO, type="LoadBalancer", externalIPs=["192.0.2.1"], sessionAffinity="ClientIP")),
    ("no Service again", {}),
]  # fmt: skip


def drafted(kernel: Kernel, path: str, ruleset: Ruleset) -> Listing:
    """How the namespace would list the whole ruleset."""
    draft = replace(ruleset, table="draft")
    return kernel.nft_canonical(path, contents(draft), draft.family, draft.table)


def test_every_change_ends_where_a_fresh_table_begins(kernel: Kernel, make_namespace: Callable[[str], str]) -> None:
    """From each state to the next by a transaction, the table lists as if it had been made in one go."""
    path = make_namespace("node")
    compiler = NftablesCompiler(CONFIG)
    rulesets = [compiler.compile(state) for _, state in STATES]
    kernel.nft(path, render(rulesets[0]))
    for (name, _), (old, new) in zip(STATES[1:], pairwise(rulesets), strict=True):
        kernel.nft(path, transaction(old, new))

        assert drafted(kernel, path, new) == kernel.nft_list(path, FAMILY, TABLE), name


FULL = compile_services(services(3, *TWO, type="LoadBalancer", sessionAffinity="ClientIP"), CONFIG)
CHAIN = next(name for name in FULL.chains if name.startswith("service-"))
DAMAGE = [
    ("nothing", ""),
    ("a flushed chain", "flush chain ip kube-proxy services"),
    ("all chains flushed", "flush table ip kube-proxy"),
    ("the table deleted", "delete table ip kube-proxy"),
    ("an element deleted", "delete element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 }"),
    ("an element with a comment", 'add element ip kube-proxy service-ips { 10.96.7.7 . tcp . 80 comment "a, } : b" : drop }'),
    ("an element added", "add element ip kube-proxy cluster-ips { 10.96.7.7 }"),
    ("a rule added", f"add rule ip kube-proxy {CHAIN} drop"),
    ("a rule exchanged", f"flush chain ip kube-proxy {CHAIN}\nadd rule ip kube-proxy {CHAIN} drop"),
    ("a map emptied", "flush map ip kube-proxy service-nodeports"),
    ("a strange chain", "add chain ip kube-proxy x\nadd rule ip kube-proxy x drop\nadd rule ip kube-proxy services jump x"),
    ("a strange map", "add map ip kube-proxy y { type ipv4_addr : verdict; }\nadd element ip kube-proxy y { 10.0.0.1 : drop }"),
    ("a strange set", "add set ip kube-proxy y { type ipv4_addr; }"),
    ("a policy", "add chain ip kube-proxy filter-forward { policy drop; }"),
]


@pytest.mark.parametrize("script", [row[1] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_repair_undoes_meddling(linux: Kernel, make_namespace: Callable[[str], str], script: str) -> None:
    """Whatever somebody did to the table, one repair makes it right, and a second has nothing to do."""
    path = make_namespace("node")
    linux.nft(path, render(FULL))
    linux.nft(path, script)
    canonical = drafted(linux, path, FULL)
    linux.nft(path, repair(linux.nft_list(path, FAMILY, TABLE), canonical, FULL))
    after = linux.nft_list(path, FAMILY, TABLE)

    assert canonical == after
    assert repair(after, canonical, FULL) == ""


def test_what_is_refused_names_its_service(linux: Kernel, make_namespace: Callable[[str], str]) -> None:
    """The kernel keeps the comments of elements and rules, and a changed one is repaired."""
    path, wanted = make_namespace("node"), compile_services(services(1), CONFIG)
    linux.nft(path, render(wanted))
    listing = linux.nft_list(path, FAMILY, TABLE)
    element = "10.96.0.1 . tcp . 80"

    assert f'{element} comment "ns/s0:http" : goto reject-chain' in listing.elements["no-endpoint-services"]
    assert listing.chains["cluster-ips-check"][0].endswith('reject comment "Reject traffic to invalid ports of ClusterIPs"')

    maps = "element ip kube-proxy no-endpoint-services"
    linux.nft(path, f'delete {maps} {{ {element} }}\nadd {maps} {{ {element} comment "x" : goto reject-chain }}\n')
    linux.nft(path, repair(linux.nft_list(path, FAMILY, TABLE), drafted(linux, path, wanted), wanted))

    assert listing == linux.nft_list(path, FAMILY, TABLE)


DIFFERENCES = {
    "nothing": (),
    "a flushed chain": ("chain services has no rules instead of 2",),
    "the table deleted": ("the table does not exist",),
    "an element deleted": ("set service-ips lacks `10.96.0.1 . tcp . 80 : goto",),
    "an element added": ("set cluster-ips also has `10.96.7.7`",),
    "a rule added": (f"chain {CHAIN} has 2 rules instead of 1",),
    "a rule exchanged": (f"chain {CHAIN} contains `drop` instead of `",),
    "a map emptied": ("set service-nodeports lacks `",),
    "a strange chain": ("chain services has 3 rules instead of 2", "chain x was not created by netlab"),
    "a strange set": ("set y was not created by netlab",),
    "a policy": ("chain filter-forward has a different hook, priority or policy",),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_meddling_is_told(linux: Kernel, make_namespace: Callable[[str], str], name: str) -> None:
    """Each difference from the wanted table is named, and nothing else."""
    path = make_namespace("node")
    linux.nft(path, render(FULL))
    linux.nft(path, dict(DAMAGE)[name])
    found = compared(linux, path, FULL)

    assert len(DIFFERENCES[name]) == len(found)
    assert all(words.startswith(wanted) for words, wanted in zip(found, DIFFERENCES[name], strict=True)), found


def compared(linux: Kernel, path: str, wanted: Ruleset) -> tuple[str, ...]:
    """Return how a table differs, as the hints find it: the ruleset of the namespace is not touched."""
    generation = linux.nft_generation(path)
    observed = linux.nft_list(path, wanted.family, wanted.table)
    with linux.scratch() as scratch:
        found = differences(observed, canonical(linux, scratch, wanted), wanted)

    assert generation == linux.nft_generation(path)
    return found


def test_no_meddling_is_found_in_what_is_right(linux: Kernel, make_namespace: Callable[[str], str]) -> None:
    """However the kernel prints them, the rules and elements are those that were written."""
    found = {}
    for number, (name, state) in enumerate(STATES):
        path, ruleset = make_namespace(str(number)), NftablesCompiler(CONFIG).compile(state)
        linux.nft(path, render(ruleset))
        found[name] = compared(linux, path, ruleset)
    flannel = flannel_rules("10.244.0.0/16", "10.244.1.0/24")
    linux.nft(path, render(flannel))

    assert dict.fromkeys(found, ()) == found
    assert () == compared(linux, path, flannel)


def test_other_tables_are_left_alone(linux: Kernel, make_namespace: Callable[[str], str]) -> None:
    """The table of flannel and a stranger's stay as they are while the proxy's comes and goes."""
    path = make_namespace("node")
    flannel: Ruleset = flannel_rules("10.244.0.0/16", "10.244.1.0/24")
    linux.nft(path, render(flannel) + "add table ip mine\nadd chain ip mine c\n")
    before = [linux.nft_list(path, "ip", name) for name in (flannel.table, "mine")]
    linux.nft(path, render(FULL))
    linux.nft(path, f"delete table {FAMILY} {TABLE}\n")

    assert before == [linux.nft_list(path, "ip", name) for name in (flannel.table, "mine")]
    assert linux.nft_list(path, FAMILY, TABLE).exists is False
