"""The contract of netlab.kernel for nft and conntrack, run against the kernel and its fake."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from netlab.dataplane.flows import Flow, FlowFilter
from netlab.errors import KernelError
from netlab.kernel.door import DRAFT_COMMITS, UNTOUCHED, Kernel
from netlab.kernel.fake import FakeKernel
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.tables import TableKeeper
from netlab.netfilter.listing import Listing
from netlab.netfilter.ruleset import Chain, Fragment, Ruleset

pytestmark = pytest.mark.netns

MakeNamespace = Callable[[str], str]
SCRIPT = """
add table ip kube-proxy
add set ip kube-proxy cluster-ips { type ipv4_addr; }
add set ip kube-proxy affinity-a { type ipv4_addr; flags dynamic,timeout; timeout 10800s; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
add chain ip kube-proxy services
add chain ip kube-proxy service-a
add chain ip kube-proxy endpoint-a
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100; }
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy service-a ip saddr @affinity-a goto endpoint-a
add rule ip kube-proxy service-a numgen random mod 2 vmap { 0 : goto endpoint-a, 1 : goto endpoint-a }
add rule ip kube-proxy endpoint-a update @affinity-a { ip saddr }
add rule ip kube-proxy endpoint-a meta l4proto tcp dnat to 10.244.1.2:80
add element ip kube-proxy affinity-a { 10.244.1.9 }
add element ip kube-proxy cluster-ips { 10.96.0.9, 10.96.0.1, 10.96.0.5 comment "a, b }" }
add element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 : goto service-a, 10.96.0.1 . udp . 53 : goto service-a }
"""
LISTED = Listing(
    chains={
        "services": ("ip daddr . meta l4proto . th dport vmap @service-ips",),
        "service-a": (
            "ip saddr @affinity-a goto endpoint-a",
            "numgen random mod 2 vmap { 0 : goto endpoint-a, 1 : goto endpoint-a }",
        ),
        "endpoint-a": ("update @affinity-a { ip saddr }", "meta l4proto tcp dnat to 10.244.1.2:80"),
        "nat-prerouting": ("type nat hook prerouting priority -100; policy accept;", "jump services"),
    },
    elements={
        "cluster-ips": ("10.96.0.1", '10.96.0.5 comment "a, b }"', "10.96.0.9"),
        "affinity-a": (),
        "service-ips": ("10.96.0.1 . tcp . 80 : goto service-a", "10.96.0.1 . udp . 53 : goto service-a"),
    },
)


def listed(kernel: Kernel, path: str) -> Listing:
    return kernel.nft_list(path, "ip", "kube-proxy")


def test_listing_holds_rules_and_elements(kernel: Kernel, make_namespace: MakeNamespace):
    """Rules come in order, elements sorted, affinity entries not at all."""
    path = make_namespace("a")
    kernel.nft(path, SCRIPT)

    assert LISTED == listed(kernel, path)


def test_canonical_is_what_a_namespace_would_list(kernel: Kernel, make_namespace: MakeNamespace):
    """Two prints of the same rules are equal, so observed and wanted rules can be compared; the draft leaves nothing."""
    path = make_namespace("a")
    kernel.nft(path, SCRIPT)
    before = kernel.nft_generation(path)
    contents = SCRIPT.replace("add table ip kube-proxy\n", "").replace("ip kube-proxy", "ip draft")

    assert listed(kernel, path) == kernel.nft_canonical(path, contents, "ip", "draft")
    assert Listing(exists=False) == kernel.nft_list(path, "ip", "draft")
    assert kernel.nft_generation(path) == before + DRAFT_COMMITS


def test_missing_table_is_no_error(kernel: Kernel, make_namespace: MakeNamespace):
    """A table that is not there is an answer."""
    assert Listing(exists=False) == listed(kernel, make_namespace("a"))


def test_generation_tells_of_every_change(kernel: Kernel, make_namespace: MakeNamespace):
    """The generation is that of no rules before the first commit, grows with a commit and stays without one."""
    path = make_namespace("a")
    before = kernel.nft_generation(path)
    kernel.nft(path, SCRIPT)
    after = kernel.nft_generation(path)
    kernel.nft(path, "")

    assert UNTOUCHED == before < after
    assert after == kernel.nft_generation(path)


REFUSED = [
    pytest.param("add rule ip kube-proxy nowhere drop", errno.ENOENT, id="chain missing"),
    pytest.param("add rule ip kube-proxy services jump nowhere", errno.ENOENT, id="target missing"),
    pytest.param("delete chain ip kube-proxy endpoint-a", errno.EBUSY, id="chain in use"),
    pytest.param("delete element ip kube-proxy cluster-ips { 10.96.0.7 }", errno.ENOENT, id="element missing"),
    pytest.param(
        "add element ip kube-proxy service-ips { 10.96.0.1 . tcp . 80 : drop }", errno.EEXIST, id="key has another value"
    ),
    pytest.param("add rulee ip kube-proxy", errno.EINVAL, id="no such command"),
]


@pytest.mark.parametrize(("line", "number"), REFUSED)
def test_refused_script_changes_nothing(kernel: Kernel, make_namespace: MakeNamespace, line: str, number: int):
    """A script is one transaction; the error shows the line that was refused and where."""
    path = make_namespace("a")
    kernel.nft(path, SCRIPT)
    with pytest.raises(KernelError) as caught:
        kernel.nft(path, f"add chain ip kube-proxy another\n{line}\n")

    assert (number, LISTED) == (caught.value.errno, listed(kernel, path))
    assert f"{path} at `{line}`" in caught.value.message


# ---- flows
CLUSTER_IP, ENDPOINTS = "10.96.0.10", ("10.0.0.2", "10.0.0.3")
TRANSLATE = f"""
add table ip nat
add chain ip nat output {{ type nat hook output priority -100; }}
add rule ip nat output ip daddr {CLUSTER_IP} udp dport 53 dnat to {ENDPOINTS[0]}:5353
add rule ip nat output ip daddr {CLUSTER_IP} udp dport 54 dnat to {ENDPOINTS[1]}:5353
"""


@contextmanager
def flows(kernel: Kernel, path: str) -> Iterator[None]:
    """Make two UDP flows to a Service's address, each translated to another endpoint, and one TCP flow."""
    if isinstance(kernel, FakeKernel):
        kernel.flows[path] = [
            Flow("udp", CLUSTER_IP, 53, ENDPOINTS[0]),
            Flow("udp", CLUSTER_IP, 54, ENDPOINTS[1]),
            Flow("tcp", "127.0.0.1", 80, "127.0.0.1"),
        ]
        yield
        return
    kernel.nft(path, TRANSLATE + "".join(f"add rule ip nat output ip daddr {e} return\n" for e in ENDPOINTS))
    with kernel.inside(path), ExitStack() as sockets:
        local_route(kernel, path)
        for port in (53, 54):
            client = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.sendto(b"x", (CLUSTER_IP, port))
        server = sockets.enter_context(socket.create_server(("127.0.0.1", 80)))
        sockets.enter_context(socket.create_connection(server.getsockname()))
        yield


def local_route(kernel: Kernel, path: str) -> None:
    """Let everything be reached on `lo`."""
    from netlab.dataplane.state import Address, Operation, Route, Verb

    addresses = [Operation(Verb.ADD, Address("lo", f"{address}/32")) for address in ENDPOINTS]
    kernel.perform(path, [*addresses, Operation(Verb.ADD, Route("10.96.0.0/16", "lo"))])


FILTERS = [
    pytest.param([FlowFilter("udp", CLUSTER_IP, 53)], 1, id="one port of a service"),
    pytest.param([FlowFilter("udp", CLUSTER_IP)], 2, id="all ports of a service"),
    pytest.param([FlowFilter("udp", reply_source=ENDPOINTS[1])], 1, id="an endpoint that is gone"),
    pytest.param([FlowFilter("udp", CLUSTER_IP, 53, ENDPOINTS[1])], 0, id="all fields must match"),
    pytest.param([FlowFilter("udp", CLUSTER_IP, 53), FlowFilter("udp", reply_source=ENDPOINTS[1])], 2, id="any filter will do"),
    pytest.param([FlowFilter("udp", CLUSTER_IP, mark=0x1010000)], 0, id="flows without that mark"),
    pytest.param([FlowFilter("sctp")], 0, id="protocol without flows"),
    pytest.param([FlowFilter("tcp", "127.0.0.1", 80)], 1, id="tcp"),
    pytest.param([], 0, id="no filter"),
]


@pytest.mark.parametrize(("filters", "deleted"), FILTERS)
def test_matching_flows_are_deleted(kernel: Kernel, make_namespace: MakeNamespace, filters: list[FlowFilter], deleted: int):
    """Entries that match any filter go, once (semantics 6.18)."""
    path = make_namespace("a")
    with flows(kernel, path):
        counts = [kernel.delete_flows(path, filters) for _ in range(2)]

    assert [deleted, 0] == counts


def test_ports_of_flows_are_told(linux: LinuxKernel, make_namespace: MakeNamespace):
    """Those of the protocol asked for, as the client sent them; of a namespace without rules there are none."""
    path = make_namespace("a")
    before = linux.tracked_ports(path, "udp")
    linux.nft(path, TRANSLATE)
    with linux.inside(path), ExitStack() as sockets:
        local_route(linux, path)
        for port in (40000, 40001):
            client = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.bind(("", port))
            client.sendto(b"x", (CLUSTER_IP, 53))

        assert (frozenset(), {40000, 40001}, frozenset()) == (
            before,
            linux.tracked_ports(path, "udp"),
            linux.tracked_ports(path, "tcp"),
        )


def test_ten_thousand_elements_are_listed(linux: LinuxKernel, make_namespace: MakeNamespace):
    """Nothing is lost in a long listing."""
    path = make_namespace("a")
    wanted = tuple(sorted(f"10.1.{i // 250}.{i % 250}" for i in range(10_000)))
    linux.nft(path, f"{SCRIPT}\nadd element ip kube-proxy cluster-ips {{ {', '.join(wanted)} }}\n")

    assert wanted == tuple(e for e in listed(linux, path).elements["cluster-ips"] if e.startswith("10.1."))


REFUSED = [
    pytest.param(Chain("b", ("jump nowhere",)), id="a chain that is not there"),
    pytest.param(Chain("b", ("drop } ; flush ruleset ; add chain ip t x {",)), id="a second command (B1)"),
    pytest.param(Chain("b", ('drop\ninclude "/etc/hostname"',)), id="an include (B1)"),
]


@pytest.mark.parametrize("bad", REFUSED)
def test_a_fragment_that_is_refused_fails_alone(kernel: Kernel, make_namespace: MakeNamespace, bad: Chain):
    """Its neighbours are written in one transaction without it, and it is when it is right again."""
    path = make_namespace("a")
    keeper = TableKeeper(kernel, path)
    frame = Fragment.of((Chain("frame", ("accept",)),))
    good = {name: Fragment.of((Chain(name, ("drop",)),)) for name in "abc"}
    keeper.keep(Ruleset("ip", "t", {"": frame, **good, "b": Fragment.of((bad,))}))
    without = set(kernel.nft_list(path, "ip", "t").chains)
    refused = set(keeper.refused("ip", "t"))
    keeper.keep(Ruleset("ip", "t", {"": frame, **good}))

    assert ({"frame", "a", "c"}, {"b"}) == (without, refused)
    assert {"frame", "a", "b", "c"} == set(kernel.nft_list(path, "ip", "t").chains)
