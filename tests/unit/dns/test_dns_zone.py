from __future__ import annotations

import dns.rcode
import pytest

from netlab.api.cluster import Namespace
from netlab.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from netlab.api.meta import ObjectMeta
from netlab.api.pods import Pod, PodStatus
from netlab.api.services import LoadBalancerIngress, Service, ServicePort, ServiceSpec
from netlab.dns.zone import Zone

SOA = "SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 30"
HOSTS = """
172.30.1.1 node1
203.0.113.10 client db.example.com   # a client
not-an-address nobody
2001:db8::10 six
"""


def service(name: str, *ports: ServicePort, namespace: str = "default", **spec) -> Service:
    return Service(metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(ports=ports, **spec))


def piece(owner: str, *endpoints: Endpoint, ports=(), namespace: str = "default", **fields) -> EndpointSlice:
    meta = ObjectMeta(name=f"{owner}-x", namespace=namespace, labels={"kubernetes.io/service-name": owner})
    return EndpointSlice(metadata=meta, endpoints=endpoints, ports=ports, **fields)


def endpoint(address: str, hostname: str = "", ready: bool | None = True) -> Endpoint:
    return Endpoint(addresses=(address,), hostname=hostname, conditions=EndpointConditions(ready=ready))


HTTP = ServicePort(port=80, name="http")
EP_HTTP = EndpointPort(port=8080, name="http")
SERVICES = (
    service("blue", HTTP, ServicePort(port=80, name="quic", protocol="UDP"), cluster_ip="10.96.0.20"),
    service("plain", ServicePort(port=9), cluster_ip="10.96.0.21"),
    service("pending", HTTP),
    service("web", HTTP, cluster_ip="None"),
    service("empty", HTTP, cluster_ip="None"),
    service("early", HTTP, cluster_ip="None", publish_not_ready_addresses=True),
    service("mixed", HTTP, cluster_ip="None"),
    service("ext", type="ExternalName", external_name="db.example.com"),
    service("far", type="ExternalName", external_name="www.example.org"),
    service("chain", type="ExternalName", external_name="Blue.default.svc.cluster.local"),
    service("broken", type="ExternalName", external_name="gone.default.svc.cluster.local"),
    service("loop", type="ExternalName", external_name="loop.default.svc.cluster.local"),
    service("address", type="ExternalName", external_name="192.0.2.7"),
    service("kube-dns", ServicePort(port=53, name="dns", protocol="UDP"), namespace="kube-system", cluster_ip="10.96.0.10"),
)
SLICES = (
    piece("blue", endpoint("10.244.1.2"), endpoint("10.244.2.2", ready=False), ports=(EP_HTTP,)),
    piece(
        "web",
        endpoint("10.244.1.3", "web-0"),
        endpoint("10.244.2.3", "web-0"),
        endpoint("10.244.1.2", ready=None),
        ports=(EP_HTTP, EndpointPort(port=1)),
    ),
    piece("web", endpoint("10.244.1.3", "web-0"), ports=(EndpointPort(port=9090, name="metrics"),)),
    piece("empty", endpoint("10.244.1.9", ready=False), ports=(EP_HTTP,)),
    piece("early", endpoint("10.244.1.8", ready=False), ports=(EP_HTTP,)),
    piece("mixed", endpoint("2001:db8::"), ports=(EP_HTTP,), address_type="IPv6"),
    piece("mixed", endpoint("not.an.address"), ports=(EP_HTTP,), address_type="FQDN"),
    piece("kube-dns", endpoint("172.30.1.1"), namespace="kube-system"),
)
NAMESPACES = tuple(Namespace(metadata=ObjectMeta(name=name)) for name in ("default", "kube-system", "bare"))
PODS = tuple(
    Pod(metadata=ObjectMeta(name=name, namespace="default", **meta), status=PodStatus(pod_ip=address, phase=phase))
    for name, address, phase, meta in (
        ("p", "10.244.1.2", "Running", {}),
        ("done", "10.244.1.8", "Succeeded", {}),
        ("leaving", "10.244.1.9", "Running", {"deletion_timestamp": "2026-01-01T00:00:00Z"}),
        ("new", "", "Pending", {}),
    )
)


def build(**options) -> Zone:
    return Zone.build("Cluster.Local", SERVICES, SLICES, NAMESPACES, PODS, node_hosts_text=HOSTS, serial=7, **options)


ZONE = build()


def written(records) -> list[str]:
    """Records without their owner, TTL and class."""
    return [line.split(" ", 3)[3] for record in records for line in str(record).splitlines()]


C = "cluster.local"
D = f"default.svc.{C}"
POSITIVE = [
    ("11.1", f"blue.{D}", "A", ["A 10.96.0.20"]),
    ("11.1 headless", f"web.{D}", "A", ["A 10.244.1.3", "A 10.244.2.3", "A 10.244.1.2"]),
    ("11.2", f"_http._tcp.blue.{D}", "SRV", [f"SRV 0 100 80 blue.{D}."]),
    ("11.2 UDP", f"_quic._udp.blue.{D}", "SRV", [f"SRV 0 100 80 blue.{D}."]),
    (
        "11.2 and 11.3 headless", f"_http._tcp.web.{D}", "SRV",
        [f"SRV 0 50 8080 web-0.web.{D}.", f"SRV 0 50 8080 10-244-1-2.web.{D}."],
    ),
    ("11.3 second slice", f"_metrics._tcp.web.{D}", "SRV", [f"SRV 0 100 9090 web-0.web.{D}."]),
    ("11.4 v6", f"2001-db8--0.mixed.{D}", "AAAA", ["AAAA 2001:db8::"]),
    ("11.5", f"web-0.web.{D}", "A", ["A 10.244.1.3", "A 10.244.2.3"]),
    ("11.6", f"10-244-1-2.blue.{D}", "A", ["A 10.244.1.2"]),
    ("11.7 cluster IP", "20.0.96.10.in-addr.arpa", "PTR", [f"PTR blue.{D}."]),
    ("11.7 endpoint", "3.1.244.10.in-addr.arpa", "PTR", [f"PTR web-0.web.{D}."]),
    ("11.7 per Service", "2.1.244.10.in-addr.arpa", "PTR", [f"PTR 10-244-1-2.blue.{D}.", f"PTR 10-244-1-2.web.{D}."]),
    ("11.7 host first", "1.1.30.172.in-addr.arpa", "PTR", ["PTR node1.", f"PTR 172-30-1-1.kube-dns.kube-system.svc.{C}."]),
    ("11.8", f"dns-version.{C}", "TXT", ['TXT "1.1.0"']),
    ("11.9", f"ext.{D}", "A", ["CNAME db.example.com.", "A 203.0.113.10"]),
    ("11.9 any type", f"ext.{D}", "CNAME", ["CNAME db.example.com."]),
    ("11.9 alias of nobody", f"broken.{D}", "CNAME", [f"CNAME gone.{D}."]),
    ("11.9 TXT", f"ext.{D}", "TXT", ["CNAME db.example.com."]),
    ("11.9 own zone", f"chain.{D}", "A", [f"CNAME Blue.{D}.", "A 10.96.0.20"]),
    ("11.9 not ours", f"far.{D}", "A", ["CNAME www.example.org."]),
    ("11.9 to itself", f"loop.{D}", "A", [f"CNAME loop.{D}."]),
    ("11.10 no endpoints", f"plain.{D}", "A", ["A 10.96.0.21"]),
    ("11.13", f"BLUE.{D}", "A", ["A 10.96.0.20"]),
    ("11.14", f"1-2-3-4.default.pod.{C}", "A", ["A 1.2.3.4"]),
    ("11.14 v6", f"2001-db8--1.default.pod.{C}", "AAAA", ["AAAA 2001:db8::1"]),
    ("11.16", C, "SOA", [SOA]),
    ("11.18 published", f"early.{D}", "A", ["A 10.244.1.8"]),
    ("NS", C, "NS", [f"NS ns.dns.{C}."]),
    ("NS address", f"ns.dns.{C}", "A", ["A 10.96.0.10"]),
    ("ANY", f"blue.{D}", "ANY", ["A 10.96.0.20"]),
    ("host", "node1", "A", ["A 172.30.1.1"]),
    ("host alias", "DB.example.com", "A", ["A 203.0.113.10"]),
    ("host v6", "six", "AAAA", ["AAAA 2001:db8::10"]),
    ("host PTR", "10.113.0.203.in-addr.arpa", "PTR", ["PTR client."]),
]  # fmt: skip


@pytest.mark.parametrize(("why", "name", "kind", "expected"), POSITIVE, ids=[row[0] for row in POSITIVE])
def test_dns_records(why, name, kind, expected):
    """A name that exists with the type asked for is answered with its records, authoritatively."""
    answer = ZONE.answer(name, kind)

    assert (dns.rcode.NOERROR, True, expected, ()) == (
        answer.rcode, answer.authoritative, written(answer.answers), () if answer.answers else answer.authority
    ), why  # fmt: skip


NODATA = [
    ("11.11 AAAA of IPv4", f"blue.{D}", "AAAA"),
    ("11.11 SRV on the Service", f"blue.{D}", "SRV"),
    ("11.11 A on a port", f"_http._tcp.blue.{D}", "A"),
    ("11.11 A of IPv6", f"mixed.{D}", "A"),
    ("11.11 unknown type", f"blue.{D}", "HINFO"),
    ("11.12 apex", C, "A"),
    ("11.12 svc", f"svc.{C}", "A"),
    ("11.12 pod", f"pod.{C}", "A"),
    ("11.12 namespace", f"bare.svc.{C}", "A"),
    ("11.12 pod namespace", f"bare.pod.{C}", "A"),
    ("protocol of a named port", f"_tcp.blue.{D}", "A"),
    ("dns", f"dns.{C}", "A"),
    ("11.14 AAAA of IPv4", f"1-2-3-4.default.pod.{C}", "AAAA"),
]
NXDOMAIN = [
    ("11.2 unnamed port", f"_9._tcp.plain.{D}", "SRV"),
    ("11.2 unnamed port of endpoints", f"_1._tcp.web.{D}", "SRV"),
    ("11.2 wrong protocol", f"_http._udp.blue.{D}", "SRV"),
    ("11.2 without underscores", f"http.tcp.blue.{D}", "SRV"),
    ("11.5 not ready", f"10-244-2-2.blue.{D}", "A"),
    ("11.4 hostname replaces address", f"10-244-1-3.web.{D}", "A"),
    ("11.9 below", f"_http._tcp.ext.{D}", "SRV"),
    ("11.9 endpoint", f"x.ext.{D}", "A"),
    ("11.9 address", f"address.{D}", "A"),
    ("11.9 target gone", f"broken.{D}", "A"),
    ("11.10", f"empty.{D}", "A"),
    ("11.10 AAAA", f"empty.{D}", "AAAA"),
    ("no cluster IP yet", f"pending.{D}", "A"),
    ("11.12 Service", f"nope.{D}", "A"),
    ("11.12 namespace", f"blue.nope.svc.{C}", "A"),
    ("11.12 namespace itself", f"nope.svc.{C}", "A"),
    ("11.12 labels", f"a.b.c.blue.{D}", "A"),
    ("11.12 neither svc nor pod", f"blue.default.foo.{C}", "A"),
    ("11.14 no address", f"nope.default.pod.{C}", "A"),
    ("11.14 no namespace", f"1-2-3-4.nope.pod.{C}", "A"),
    ("11.14 below", f"x.1-2-3-4.default.pod.{C}", "A"),
    ("11.15", f"*.{D}", "A"),
    ("11.15 any", f"any.{D}", "A"),
    ("binary label", f"\\000.{D}", "A"),
    ("search suffix", f"node1.{D}", "A"),
]


@pytest.mark.parametrize(("why", "name", "kind"), NODATA, ids=[row[0] for row in NODATA])
def test_dns_nodata(why, name, kind):
    """A name that exists without the type asked for is NOERROR without answers, with the SOA."""
    answer = ZONE.answer(name, kind)

    assert (dns.rcode.NOERROR, (), [SOA]) == (answer.rcode, answer.answers, written(answer.authority)), why


@pytest.mark.parametrize(("why", "name", "kind"), NXDOMAIN, ids=[row[0] for row in NXDOMAIN])
def test_dns_nxdomain(why, name, kind):
    """A name that does not exist is NXDOMAIN, with the SOA."""
    answer = ZONE.answer(name, kind)

    assert (dns.rcode.NXDOMAIN, [SOA]) == (answer.rcode, written(answer.authority)), why


@pytest.mark.parametrize("name", ["www.example.org", "org", "local", "8.8.8.8.in-addr.arpa", "xcluster.local", "nobody"])
def test_dns_foreign_names_do_not_exist(name):
    """A foreign name is NXDOMAIN with a SOA, so that a resolver goes on in its search list, and not authoritative."""
    answer = ZONE.answer(name, "A")

    assert (dns.rcode.NXDOMAIN, False, True, ()) == (answer.rcode, answer.authoritative, answer.foreign, answer.answers)
    assert [(".", 30)] == [(rrset.name.to_text(), rrset.ttl) for rrset in answer.authority]


@pytest.mark.parametrize("name", [".", "example.com"])
def test_dns_names_above_hosts_exist(name):
    """The root, and the parent of a host's name, exist without addresses (RFC 8020: else nothing would be below them)."""
    zone = Zone.build("cluster.local", [], [], [], node_hosts_text="203.0.113.10 client db.example.com")
    answer = zone.answer(name, "A")

    assert (dns.rcode.NOERROR, (), 1) == (answer.rcode, answer.answers, len(answer.authority))


OUTSIDE = Zone.outside("203.0.113.10 client db.example.com\n172.30.1.1 node1\n")


@pytest.mark.parametrize(
    ("name", "kind", "rcode", "answers"),
    [
        ("db.example.com", "A", dns.rcode.NOERROR, ["A 203.0.113.10"]),
        ("node1", "A", dns.rcode.NOERROR, ["A 172.30.1.1"]),
        ("10.113.0.203.in-addr.arpa", "PTR", dns.rcode.NOERROR, ["PTR client."]),
        ("kubernetes.default.svc.cluster.local", "A", dns.rcode.NXDOMAIN, []),
        ("cluster.local", "SOA", dns.rcode.NXDOMAIN, []),
        ("svc", "A", dns.rcode.NXDOMAIN, []),
        ("1.0.96.10.in-addr.arpa", "PTR", dns.rcode.NXDOMAIN, []),
    ],
)
def test_dns_outside_knows_hosts_only(name, kind, rcode, answers):
    """A node's own resolver is the outside's: it has no name of the cluster (semantics 11.21)."""
    answer = OUTSIDE.answer(name, kind)

    assert (rcode, answers) == (answer.rcode, written(answer.answers))


REVERSE = [
    ("9.9.244.10.in-addr.arpa", dns.rcode.NXDOMAIN),
    ("9.9.9.9.9.244.10.in-addr.arpa", dns.rcode.NXDOMAIN),
    ("10.in-addr.arpa", dns.rcode.NOERROR),
    ("1.244.10.in-addr.arpa", dns.rcode.NOERROR),
    ("7.244.10.in-addr.arpa", dns.rcode.NXDOMAIN),
    ("9.31.172.in-addr.arpa", dns.rcode.NXDOMAIN),
    ("9.32.172.in-addr.arpa", dns.rcode.NXDOMAIN),
]


@pytest.mark.parametrize(("name", "rcode"), REVERSE)
def test_dns_private_reverse_zones(name, rcode):
    """Addresses that only we can know have no name when we know none (RFC 6303)."""
    answer = ZONE.answer(name, "PTR")

    assert (rcode, ()) == (answer.rcode, answer.answers)


MODES = [
    ("disabled", "1-2-3-4", False),
    ("verified", "1-2-3-4", False),
    ("verified", "10-244-1-2", True),
    ("verified", "10-244-1-8", False),
    ("verified", "10-244-1-9", False),
    ("insecure", "1-2-3-4", True),
]


@pytest.mark.parametrize(("mode", "label", "exists"), MODES)
def test_dns_pod_modes(mode, label, exists):
    """Pod records follow the mode (semantics 11.14)."""
    answer = build(pod_mode=mode).answer(f"{label}.default.pod.{C}", "A")

    assert exists is bool(answer.answers)


def test_dns_host_without_that_type():
    """A host of the lab without an address of that family is NODATA, which musl needs."""
    answer = ZONE.answer("client", "AAAA")

    assert (dns.rcode.NOERROR, ()) == (answer.rcode, answer.answers)


def test_dns_owner_names_are_the_askers():
    """The answer repeats the question's spelling (semantics 11.13)."""
    answer = ZONE.answer("BLUE.Default.svc.CLUSTER.local.", "A")

    assert "BLUE.Default.svc.CLUSTER.local. 30 IN A 10.96.0.20" == str(answer.answers[0])


def test_dns_alias_to_a_missing_name_keeps_the_alias():
    """NXDOMAIN of an alias' target comes with the alias (RFC 6604)."""
    answer = ZONE.answer(f"broken.{D}", "A")

    assert ["CNAME gone.default.svc.cluster.local."] == written(answer.answers)


def test_dns_additional_addresses_of_targets():
    """The addresses of SRV targets come along (semantics 11.29)."""
    answer = ZONE.answer(f"_http._tcp.web.{D}", "SRV")

    assert ["A 10.244.1.3", "A 10.244.2.3", "A 10.244.1.2"] == written(answer.additional)


@pytest.mark.parametrize(
    ("rotation", "first"), [(0, "A 10.244.1.3"), (1, "A 10.244.2.3"), (2, "A 10.244.1.2"), (3, "A 10.244.1.3")]
)
def test_dns_rotation(rotation, first):
    """Addresses are turned by the number given (semantics 11.27)."""
    answer = ZONE.answer(f"web.{D}", "A", rotation)

    assert (3, first, 3) == (answer.rotations, written(answer.answers)[0], len(written(answer.answers)))


def test_dns_ttl():
    """The TTL given is that of records and of the negative answer (semantics 11.16); dns-version has its own."""
    zone = build(ttl=5)
    ttls = [zone.answer(name, kind).answers[0].ttl for name, kind in ((f"blue.{D}", "A"), (f"dns-version.{C}", "TXT"))]
    negative = zone.answer(f"nope.{D}", "A").authority[0]

    assert ([5, 28800], 5, 5) == (ttls, negative.ttl, negative[0].minimum)


def test_dns_rebuild_reuses_what_did_not_change():
    """Only the Service that changed is computed again."""
    changed = (service("blue", HTTP, cluster_ip="10.96.0.99"), *SERVICES[1:])
    zone = Zone.build(C, changed, SLICES, NAMESPACES, previous=ZONE)
    kept = [key for key, source in zone.sources.items() if source is ZONE.sources[key]]

    assert (len(SERVICES) - 1, ["A 10.96.0.99"]) == (len(kept), written(zone.answer(f"blue.{D}", "A").answers))


def test_dns_load_balancer_address_has_no_record():
    """A load balancer's address is nobody's PTR: the schema knows cluster IPs and endpoints only (semantics 11.7)."""
    ingress = (LoadBalancerIngress(ip="198.51.100.1"),)

    assert ("198.51.100.1", dns.rcode.NXDOMAIN) == (ingress[0].ip, ZONE.answer("1.100.51.198.in-addr.arpa", "PTR").rcode)


SAME = [("serial", {"serial": 8}, True), ("TTL", {"ttl": 5}, False), ("hosts", {"node_hosts_text": ""}, False)]


@pytest.mark.parametrize(("what", "options", "same"), SAME, ids=[row[0] for row in SAME])
def test_dns_zone_without_news_is_the_same_zone(what, options, same):
    """The serial moves only with the content, so that a server keeps its answers (it compares by identity)."""
    given = {"node_hosts_text": HOSTS, "serial": 7, **options}
    zone = Zone.build("cluster.local", SERVICES, SLICES, NAMESPACES, previous=ZONE, **given)

    assert same is (zone is ZONE), what


def test_dns_zone_sees_a_namespace_that_went():
    """A namespace that is gone takes its names along, at once."""
    zone = Zone.build("cluster.local", SERVICES, SLICES, NAMESPACES[1:], previous=ZONE, node_hosts_text=HOSTS)

    assert dns.rcode.NXDOMAIN == zone.answer(f"blue.{D}", "A").rcode


END = "10.0.0.1\n6.6.6.6 pay.default.svc.cluster.local"
LEFT_OUT = [
    ("service", service("bad", HTTP, cluster_ip=END), None),
    ("service", service("bad", ServicePort(port=70_000, name="http"), cluster_ip="10.96.0.77"), None),
    ("service", service("b" * 64, HTTP, cluster_ip="10.96.0.77"), None),
    ("service", service("a.b", HTTP, cluster_ip="10.96.0.77"), None),
    ("endpointslice", service("bad", HTTP, cluster_ip="10.96.0.77"), piece("bad", endpoint(END))),
    ("endpointslice", service("bad", HTTP, cluster_ip="None"), piece("bad", endpoint("fe80::1%eth0"))),
    (
        "endpointslice",
        service("bad", HTTP, cluster_ip="None"),
        piece("bad", endpoint("10.244.1.9"), ports=(EndpointPort(port=-1),)),
    ),
]


@pytest.mark.parametrize(("kind", "bad", "bad_slice"), LEFT_OUT)
def test_dns_object_that_does_not_parse_is_left_out_alone(kind, bad, bad_slice):
    """The zone names it, and answers for the others; no question raises (B1)."""
    slices = (*SLICES, *([bad_slice] if bad_slice else []))
    zone = Zone.build("cluster.local", (*SERVICES, bad), slices, NAMESPACES, node_hosts_text=HOSTS)
    questions = (f"{name}.default.svc.cluster.local" for name in ("blue", "web", "bad"))
    answers = {name: [zone.answer(name, qtype).rcode for qtype in ("A", "AAAA", "SRV", "ANY")] for name in questions}

    assert {kind} == {name.split()[0] for name in zone.refused}
    assert 1 == len(zone.refused)
    assert dns.rcode.NOERROR == answers["blue.default.svc.cluster.local"][0]


@pytest.mark.parametrize("line", ["10.0.0.1. dot", "fe80::1%eth0 scoped", "\u0661\u0660.0.0.1 digits", "10.0.0.1/8 prefix"])
def test_dns_hosts_line_without_an_address_is_skipped(line):
    """What looks like an address and is none has no name, so that no answer fails on it."""
    zone = Zone.build("cluster.local", (), (), (), node_hosts_text=f"{line}\n172.30.1.1 node1\n")
    name = line.split()[1]

    assert (dns.rcode.NXDOMAIN, dns.rcode.NOERROR) == (zone.answer(name, "A").rcode, zone.answer("node1", "A").rcode)
