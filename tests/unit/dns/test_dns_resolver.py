from __future__ import annotations

import pytest

from netlab.api.core import PodDNSConfig, PodDNSConfigOption
from netlab.dns.resolver import ResolverConfig, node_resolv_conf, parse, resolv_conf

NODE = node_resolv_conf("172.30.1.1")
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
    ("11.21 Default", "Default", None, NODE, False, "nameserver 172.30.1.1\n"),
    ("11.21 hostNetwork", "ClusterFirst", None, NODE, True, "nameserver 172.30.1.1\n"),
    ("11.21 hostNetwork unset", "", None, NODE, True, "nameserver 172.30.1.1\n"),
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
