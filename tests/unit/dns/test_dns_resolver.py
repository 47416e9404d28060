from __future__ import annotations

import pytest

from netlab.api.pods import PodDNSConfig, PodDNSConfigOption
from netlab.dns.resolver import ResolverConfig, outside_resolv_conf, parse, resolv_conf, search_list

NODE = outside_resolv_conf("172.30.0.1")
PLACE = {"namespace": "ns1", "domain": "cluster.local", "dns_ip": "10.96.0.10"}
CLUSTER = "search ns1.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
OWN = PodDNSConfig(
    nameservers=("192.0.2.1", "10.96.0.10"),
    searches=("example.com", "cluster.local"),
    options=(PodDNSConfigOption(name="ndots", value="2"), PodDNSConfigOption(name="edns0")),
)
MERGED = """search ns1.svc.cluster.local svc.cluster.local cluster.local example.com
nameserver 10.96.0.10
nameserver 192.0.2.1
options ndots:2 edns0
"""
POLICIES = [
    ("11.20 ClusterFirst", "ClusterFirst", None, NODE, False, CLUSTER),
    ("unset is ClusterFirst", "", None, NODE, False, CLUSTER),
    (
        "11.20 node's searches follow", "ClusterFirst", None, "search corp.example\nnameserver 172.30.1.1\n", False,
        CLUSTER.replace("cluster.local\nname", "cluster.local corp.example\nname"),
    ),
    ("11.21 Default", "Default", None, NODE, False, "nameserver 172.30.0.1\n"),
    ("11.21 hostNetwork", "ClusterFirst", None, NODE, True, "nameserver 172.30.0.1\n"),
    ("11.21 hostNetwork unset", "", None, NODE, True, "nameserver 172.30.0.1\n"),
    ("11.21 WithHostNet", "ClusterFirstWithHostNet", None, NODE, True, CLUSTER),
    ("11.21 None", "None", PodDNSConfig(nameservers=("192.0.2.1",)), NODE, False, "nameserver 192.0.2.1\n"),
    (
        "11.22 merge", "ClusterFirst", OWN, NODE, False,
        MERGED,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("why", "policy", "config", "node", "host_network", "expected"), POLICIES, ids=[r[0] for r in POLICIES])
def test_dns_resolv_conf(why, policy, config, node, host_network, expected):
    """A pod's resolv.conf is its policy's base with its dnsConfig merged in."""
    actual = resolv_conf(policy, config, node_resolv=node, host_network=host_network, **PLACE)

    assert expected == actual, why


def test_dns_resolv_conf_limits():
    """Nameservers, search domains and the length of the search list are cut (semantics 11.22)."""
    config = PodDNSConfig(nameservers=tuple(f"192.0.2.{n}" for n in range(5)), searches=tuple(f"s{n}.example" for n in range(40)))
    many = parse(resolv_conf("ClusterFirst", config, node_resolv=NODE, **PLACE))
    long = PodDNSConfig(nameservers=("192.0.2.1",), searches=tuple(f"{'x' * 60}{n}.{'y' * 60}" for n in range(32)))
    cut = parse(resolv_conf("None", long, node_resolv=NODE, **PLACE))

    assert (3, 32, True) == (len(many.nameservers), len(many.searches), 1900 < len(" ".join(cut.searches)) <= 2048)


CONF = ResolverConfig(searches=("ns1.svc.c", "svc.c", "c"), options=("ndots:5",))
NAMES = [
    ("11.23 svc", "blue", CONF, ["blue.ns1.svc.c.", "blue.svc.c.", "blue.c.", "blue."]),
    ("11.24 external", "www.example.org", CONF,
     ["www.example.org.ns1.svc.c.", "www.example.org.svc.c.", "www.example.org.c.", "www.example.org."]),
    ("11.24 trailing dot", "www.example.org.", CONF, ["www.example.org."]),
    ("enough dots", "a.b.c.d.e.f", CONF, ["a.b.c.d.e.f.", "a.b.c.d.e.f.ns1.svc.c.", "a.b.c.d.e.f.svc.c.", "a.b.c.d.e.f.c."]),
    ("no searches", "node1", ResolverConfig(), ["node1."]),
    ("default ndots", "a.b", ResolverConfig(searches=("c",)), ["a.b.", "a.b.c."]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "name", "conf", "expected"), NAMES, ids=[row[0] for row in NAMES])
def test_dns_search_list(why, name, conf, expected):
    """Names are tried in glibc's order."""
    assert expected == list(search_list(name, conf)), why


PARSED = [
    ("# c\n; c\nnameserver 1.2.3.4 # x\n\nnameserver 5.6.7.8\n", ResolverConfig(("1.2.3.4", "5.6.7.8"))),
    ("search a b\nsearch c.\n", ResolverConfig(searches=("c",))),
    ("domain a\n", ResolverConfig(searches=("a",))),
    ("options ndots:3 rotate\noptions timeout:1\nsortlist x\n", ResolverConfig(options=("ndots:3", "rotate", "timeout:1"))),
    ("nameserver\n", ResolverConfig()),
]


@pytest.mark.parametrize(("text", "expected"), PARSED)
def test_dns_parse(text, expected):
    """A resolv.conf is read as resolvers read it."""
    assert expected == parse(text)


@pytest.mark.parametrize(
    ("options", "expected"), [((), 1), (("ndots:5",), 5), (("ndots:99",), 15), (("ndots:x",), 1), (("ndots:2", "ndots:3"), 3)]
)
def test_dns_ndots(options, expected):
    """The option ndots is 1 unless said otherwise, and 15 at most."""
    assert expected == ResolverConfig(options=options).ndots
