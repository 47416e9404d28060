from __future__ import annotations

import pytest
from msgspec.structs import replace
from proxy_builders import LOCAL, NODE, REMOTE, endpoint, going, service, service_map, slice_of

from netlab.api.cluster import Node
from netlab.api.discovery import Endpoint, EndpointPort
from netlab.api.meta import ObjectMeta
from netlab.api.services import (
    ClientIPConfig,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ServicePort,
    ServiceStatus,
    SessionAffinityConfig,
)
from netlab.containment import describe
from netlab.family import Family
from netlab.proxy import servicemap
from netlab.proxy.servicemap import ServiceTracker

UNREADY = {"ready": False}
BOTH = service(type="NodePort", external_traffic_policy="Local")
# name, endpoints, Cluster set, Local set, any endpoint
SELECTION = [
    ("ready", [LOCAL, REMOTE], [LOCAL, REMOTE], [LOCAL], True),
    ("none", [], [], [], False),
    ("none ready", [endpoint(LOCAL, ready=False)], [], [], False),
    ("unready are left out", [endpoint(LOCAL, ready=False), REMOTE], [REMOTE], [], True),
    ("terminating are a fallback", [going(LOCAL), going(REMOTE)], [LOCAL, REMOTE], [LOCAL], True),
    ("not while one is ready", [going(LOCAL), REMOTE], [REMOTE], [LOCAL], True),
    ("Local falls back on its own", [going(LOCAL), REMOTE, "10.244.2.6"], [REMOTE, "10.244.2.6"], [LOCAL], True),
    ("terminating and not serving", [endpoint(LOCAL, ready=False, terminating=True, serving=False)], [], [], False),
    ("serving and not terminating", [endpoint(LOCAL, ready=False, serving=True)], [], [], False),
    ("unset conditions mean ready", [endpoint(LOCAL, ready=None)], [LOCAL], [LOCAL], True),
    ("order is of numbers", ["10.244.1.10", "10.244.1.9"], ["10.244.1.9", "10.244.1.10"], ["10.244.1.9", "10.244.1.10"], True),
    ("own node hinted", [endpoint(LOCAL, node="node1"), endpoint(REMOTE, node="node2")], [LOCAL], [LOCAL], True),
    ("own zone hinted", [endpoint(LOCAL, zone="b"), endpoint(REMOTE, zone="a")], [REMOTE], [LOCAL], True),
    ("node before zone",
     [endpoint(LOCAL, node="node1", zone="b"), endpoint(REMOTE, node="node2", zone="a")], [LOCAL], [LOCAL], True),
    ("one without zone hint", [endpoint(LOCAL, zone="a"), REMOTE], [LOCAL, REMOTE], [LOCAL], True),
    ("one without node hint", [endpoint(LOCAL, node="node1"), REMOTE], [LOCAL, REMOTE], [LOCAL], True),
    ("no hint for my zone", [endpoint(LOCAL, zone="b"), endpoint(REMOTE, zone="c")], [LOCAL, REMOTE], [LOCAL], True),
    ("only ready ones need hints", [endpoint(REMOTE, zone="a"), endpoint(LOCAL, ready=False)], [REMOTE], [], True),
]  # fmt: skip


@pytest.mark.parametrize(("endpoints", "cluster", "local", "any_"), [r[1:] for r in SELECTION], ids=[r[0] for r in SELECTION])
def test_endpoints_are_chosen_as_kube_proxy_chooses(endpoints: list, cluster: list, local: list, any_: bool) -> None:
    """Cluster and Local traffic each have their own set of usable endpoints (semantics 6.1 to 6.3, 6.13)."""
    usable = service_map(BOTH, slice_of(*endpoints))["ns/web"][0].usable

    assert (cluster, local, any_) == (
        [e.address for e in usable.cluster],
        [e.address for e in usable.local],
        usable.any_in_cluster,
    )


SKIPPED = [
    ("ExternalName", service(type="ExternalName", external_name="example.com")),
    ("headless", service(cluster_ip="None")),
    ("no address yet", service(cluster_ip="")),
    ("another proxy", service(labels={"service.kubernetes.io/service-proxy-name": "mine"})),
    ("labelled headless", service(labels={"service.kubernetes.io/headless": ""})),
]


@pytest.mark.parametrize("skipped", [s for _, s in SKIPPED], ids=[n for n, _ in SKIPPED])
def test_some_services_are_not_proxied(skipped: object) -> None:
    """The proxy leaves alone what is not its business (semantics 4.13, 4.17, 6.23)."""
    assert {} == service_map(skipped, slice_of(LOCAL))


def test_slices_are_merged_and_duplicates_are_one() -> None:
    """An endpoint listed by two slices counts once, in its better state (semantics 5.10)."""
    old, new = slice_of(endpoint(LOCAL, ready=False), name="a"), slice_of(LOCAL, REMOTE, name="b")
    (port,) = service_map(service(), new, old)["ns/web"]

    assert [(LOCAL, True), (REMOTE, True)] == [(e.address, e.ready) for e in port.endpoints]


def test_a_named_port_may_have_another_number_in_every_pod() -> None:
    """Slices with different numbers for one port name give endpoints with their own number (semantics 4.7)."""
    slices = [slice_of(a, name=a, ports=(EndpointPort(port=p, name="http"),)) for a, p in ((LOCAL, 8080), (REMOTE, 9090))]
    (port,) = service_map(service(), *slices)["ns/web"]

    assert ["10.244.1.5:8080", "10.244.2.5:9090"] == [str(e) for e in port.usable.cluster]


def test_endpoints_belong_to_port_and_protocol() -> None:
    """The same name and number in TCP and UDP are two service ports (semantics 4.6)."""
    ports = (ServicePort(port=53, name="dns", protocol="UDP"), ServicePort(port=53, name="dns-tcp"))
    pieces = slice_of(LOCAL, ports=(EndpointPort(port=5353, name="dns", protocol="UDP"), EndpointPort(port=5354, name="dns-tcp")))
    infos = service_map(service(ports=ports), pieces)["ns/web"]

    assert {"udp": ["10.244.1.5:5353"], "tcp": ["10.244.1.5:5354"]} == {
        i.protocol: [str(e) for e in i.usable.cluster] for i in infos
    }


def test_slices_of_other_families_and_without_port_are_ignored() -> None:
    """Only IPv4 slices with port numbers hold endpoints for this proxy."""
    six = replace(slice_of(LOCAL, name="six"), address_type="IPv6")

    assert (
        () == service_map(service(), six, slice_of(LOCAL, name="all", ports=(EndpointPort(name="http"),)))["ns/web"][0].endpoints
    )


RANGES = [
    ((), ()),
    ((" 203.0.113.0/24 ",), ("203.0.113.0/24",)),
    (("10.0.0.0/8", "10.1.0.0/16"), ("10.0.0.0/8",)),
    (("203.0.113.7/24",), ("203.0.113.0/24",)),
    (("fd00::/8", "203.0.113.0/24"), ("203.0.113.0/24",)),
    (("0.0.0.0/0", "10.0.0.0/8"), ()),
]


@pytest.mark.parametrize(("written", "expected"), RANGES)
def test_source_ranges_become_prefixes_that_do_not_overlap(written: tuple, expected: tuple) -> None:
    """Ranges are cleaned up so that nft takes them as one set; the whole world is no restriction."""
    assert expected == service_map(service(load_balancer_source_ranges=written))["ns/web"][0].source_ranges


def test_load_balancer_addresses_of_mode_proxy_are_not_captured() -> None:
    """An ingress of ipMode Proxy gets no rule (semantics 4.11)."""
    ingress = tuple(LoadBalancerIngress(ip=f"198.51.100.{n}", ip_mode=m) for n, m in enumerate(["", "VIP", "Proxy"]))
    balanced = service(type="LoadBalancer")
    balanced = replace(balanced, status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)))

    assert ("198.51.100.0", "198.51.100.1") == service_map(balanced)["ns/web"][0].load_balancer_ips


EXTERNAL_LOCAL = [
    (service(type="NodePort", external_traffic_policy="Local"), True, 0),
    (service(type="ClusterIP", external_traffic_policy="Local"), False, 0),
    (service(external_ips=("192.0.2.1",), external_traffic_policy="Local"), True, 0),
    (service(type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=32000), True, 32000),
    (service(type="LoadBalancer", external_traffic_policy="Cluster", health_check_node_port=32000), False, 0),
    (service(type="NodePort", external_traffic_policy="Local", health_check_node_port=32000), True, 0),
]


@pytest.mark.parametrize(("given", "local", "health_port"), EXTERNAL_LOCAL)
def test_external_policy_counts_where_traffic_comes_from_outside(given: object, local: bool, health_port: int) -> None:
    """Policy and health check port matter only for Services that are reachable from outside."""
    (port,) = service_map(given)["ns/web"]

    assert (local, health_port) == (port.external_local, port.health_check_node_port)


CLAIMS = [
    ("nobody else", {"cluster_ip": "10.96.0.6"}, ("10.96.0.6", ("192.0.2.9",), 30081)),
    ("external address",
     {"cluster_ip": "10.96.0.6", "external_ips": ("192.0.2.1", "192.0.2.9")}, ("10.96.0.6", ("192.0.2.9",), 30081)),
    ("a ClusterIP as external address", {"cluster_ip": "10.96.0.6", "external_ips": ("10.96.0.5",)}, ("10.96.0.6", (), 30081)),
    ("node port", {"cluster_ip": "10.96.0.6", "node_port": 30080}, ("10.96.0.6", ("192.0.2.9",), 0)),
    ("ClusterIP", {"cluster_ip": "10.96.0.5"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("claims", "left"), [r[1:] for r in CLAIMS], ids=[r[0] for r in CLAIMS])
@pytest.mark.parametrize("order", [1, -1])
def test_an_address_has_one_owner(claims: dict, left: tuple | None, order: int) -> None:
    """Of two Services that claim the same, the first by name has it, whichever came first; the other goes without."""
    number = claims.get("node_port", 30081)
    spec = {"external_ips": ("192.0.2.9",), **claims}
    spec.pop("node_port", None)
    rivals = [
        service(name="a", type="NodePort", external_ips=("192.0.2.1",)),
        service(name="b", type="NodePort", ports=(ServicePort(port=80, name="http", node_port=number),), **spec),
    ][::order]
    ports = service_map(*rivals)
    kept = [(p.cluster_ip, p.external_ips, p.node_port) for p in ports.get("ns/b", ())]

    assert (("192.0.2.1",), 30080) == (ports["ns/a"][0].external_ips, ports["ns/a"][0].node_port)
    assert ([left] if left else []) == kept


def test_only_what_changed_is_computed_again() -> None:
    """The tracker keeps the very objects of Services that nothing touched."""
    tracker = ServiceTracker(NODE, Family.IPV4)
    for name, ip in (("a", "10.96.0.5"), ("b", "10.96.0.6")):
        tracker.set_service(f"ns/{name}", service(name=name, cluster_ip=ip))
        tracker.set_slice(f"ns/{name}-1", slice_of(LOCAL, name=f"{name}-1", service=name))
    before = tracker.current()
    tracker.set_slice("ns/b-1", slice_of(REMOTE, name="b-1", service="b"))
    after = tracker.current()

    assert (True, False) == (before["ns/a"] is after["ns/a"], before["ns/b"] is after["ns/b"])


CHANGES = [
    ("slice gone", lambda t: t.set_slice("ns/web-1", None), ("ns/web", [])),
    ("slice of another Service now", lambda t: t.set_slice("ns/web-1", slice_of(LOCAL, service="other")), ("ns/web", [])),
    ("Service gone", lambda t: t.set_service("ns/web", None), None),
    ("Service is headless now", lambda t: t.set_service("ns/web", service(cluster_ip="None")), None),
    ("zone of the node", lambda t: t.set_node(Node(metadata=ObjectMeta(name="node1"))), ("ns/web", [LOCAL, REMOTE])),
]


@pytest.mark.parametrize(("change", "expected"), [r[1:] for r in CHANGES], ids=[r[0] for r in CHANGES])
def test_the_tracker_follows_every_kind_of_change(change: object, expected: object) -> None:
    """Objects that go, move or change are followed, and so are the node's labels."""
    tracker = ServiceTracker(NODE, Family.IPV4)
    tracker.set_slice("ns/web-1", slice_of(endpoint(LOCAL, zone="a"), endpoint(REMOTE, zone="b")))
    tracker.set_service("ns/web", service())
    assert [LOCAL] == [e.address for e in tracker.current()["ns/web"][0].usable.cluster]
    change(tracker)
    ports = tracker.current()

    assert expected == (("ns/web", [e.address for e in ports["ns/web"][0].usable.cluster]) if ports else None)


def test_a_service_may_come_after_its_slices_and_come_back() -> None:
    """Order of arrival does not matter, and a Service made again works again (semantics 4.22)."""
    tracker = ServiceTracker(NODE, Family.IPV4)
    tracker.set_slice("ns/web-1", slice_of(LOCAL))
    seen = []
    for now in (service(), None, service(cluster_ip="10.96.0.9")):
        tracker.set_service("ns/web", now)
        seen.append([(p.cluster_ip, len(p.endpoints)) for p in tracker.current().get("ns/web", ())])

    assert [[("10.96.0.5", 1)], [], [("10.96.0.9", 1)]] == seen


def affinity(seconds: int) -> SessionAffinityConfig:
    return SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=seconds))


END = "10.96.0.7 }\nflush ruleset\nadd element ip kube-proxy cluster-ips { 10.96.0.8"
BAD_SERVICES = [
    ("ClusterIP", {"cluster_ip": END}),
    ("externalIP", {"external_ips": (END,)}),
    ("load balancer address", {"type": "LoadBalancer", "lb": END}),
    ("source range", {"load_balancer_source_ranges": ("10.0.0.0/8", END)}),
    ("port", {"ports": (ServicePort(port=70_000),)}),
    ("node port", {"type": "NodePort", "ports": (ServicePort(port=80, node_port=10**20),)}),
    ("protocol", {"ports": (ServicePort(port=80, protocol="TCP; flush ruleset"),)}),
    ("affinity", {"session_affinity": "ClientIP", "session_affinity_config": affinity(-1)}),
]


@pytest.mark.parametrize(("what", "fields"), BAD_SERVICES)
def test_a_service_that_does_not_parse_is_left_out_alone(what: str, fields: dict) -> None:
    """The error names it; the others are served, and it is too when it is right again (B1)."""
    tracker = ServiceTracker(NODE, Family.IPV4)
    tracker.set_service("ns/good", service(name="good", cluster_ip="10.96.0.9"))
    tracker.set_service("ns/web", service(**fields))
    served, refused = set(tracker.current()), dict(tracker.refused)
    tracker.set_service("ns/web", service())

    assert ({"ns/good"}, {"service ns/web"}) == (served, set(refused)), what
    assert "\n" not in describe(refused["service ns/web"])
    assert ({"ns/good", "ns/web"}, {}) == (set(tracker.current()), tracker.refused)


BAD_SLICES = [
    ("address", (endpoint(LOCAL), Endpoint(addresses=(END,))), ()),
    ("loopback", (Endpoint(addresses=("127.0.0.1",)),), ()),
    ("the other family", (Endpoint(addresses=("2001:db8::1",)),), ()),
    ("port", (), (EndpointPort(port=-5),)),
    ("protocol", (), (EndpointPort(port=5, protocol="x"),)),
]


@pytest.mark.parametrize(("what", "endpoints", "ports"), BAD_SLICES)
def test_a_slice_that_does_not_parse_is_left_out_alone(what: str, endpoints: tuple, ports: tuple) -> None:
    """The Service goes on with its other slices, and with this one as soon as it is right."""
    tracker = ServiceTracker(NODE, Family.IPV4)
    tracker.set_service("ns/web", service())
    tracker.set_slice("ns/web-1", slice_of(REMOTE))
    tracker.set_slice("ns/web-2", slice_of(*endpoints, name="web-2", ports=ports))
    served = [e.address for e in tracker.current()["ns/web"][0].endpoints]
    refused = set(tracker.refused)
    tracker.set_slice("ns/web-2", slice_of(LOCAL, name="web-2"))

    assert ([REMOTE], {"endpointslice ns/web-2"}) == (served, refused), what
    assert [LOCAL, REMOTE] == [e.address for e in tracker.current()["ns/web"][0].endpoints]
    assert {} == tracker.refused


def test_any_failure_of_a_service_is_its_own(monkeypatch) -> None:
    """Also an error that nobody thought of leaves the other Services alone."""
    original = servicemap.usable_endpoints

    def fail(endpoints, node, **uses):
        if any(e.address == REMOTE for e in endpoints):
            raise RecursionError
        return original(endpoints, node, **uses)

    monkeypatch.setattr(servicemap, "usable_endpoints", fail)
    tracker = ServiceTracker(NODE, Family.IPV4)
    for name, address in (("good", LOCAL), ("bad", REMOTE)):
        tracker.set_service(f"ns/{name}", service(name=name, cluster_ip=f"10.96.0.{len(name)}"))
        tracker.set_slice(f"ns/{name}-1", slice_of(address, name=f"{name}-1", service=name))

    assert (["ns/good"], ["service ns/bad"]) == (list(tracker.current()), list(tracker.refused))
