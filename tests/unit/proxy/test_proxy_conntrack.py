from __future__ import annotations

import pytest
from proxy_builders import LOCAL, REMOTE, endpoint, going, service, service_map, slice_of

from netlab.api.discovery import EndpointPort
from netlab.api.services import ServicePort
from netlab.dataplane.flows import FlowFilter
from netlab.proxy.conntrack import stale_flows

VIP = "10.96.0.5"
UDP = (ServicePort(port=53, name="dns", protocol="UDP", node_port=30053),)
TARGET = (EndpointPort(port=5353, name="dns", protocol="UDP"),)


def dns(*endpoints: object, ports: tuple[EndpointPort, ...] = TARGET, **spec: object) -> dict:
    return dict(service_map(service(ports=UDP, **spec), slice_of(*endpoints, ports=ports)))


def published(*endpoints: object) -> dict:
    return dns(*endpoints, publish_not_ready_addresses=True)


ALL = FlowFilter(destination=VIP, destination_port=53)
ROWS = [
    ("nothing changed", dns(LOCAL), dns(LOCAL), []),
    ("first endpoint", dns(), dns(LOCAL), [ALL]),
    ("a new Service", {}, dns(LOCAL), [ALL]),
    ("a new Service without endpoint", {}, dns(), []),
    ("one more endpoint", dns(LOCAL), dns(LOCAL, REMOTE), []),
    ("an endpoint gone", dns(LOCAL, REMOTE), dns(LOCAL), [FlowFilter("udp", VIP, 53, REMOTE)]),
    ("the last endpoint gone", dns(LOCAL), dns(), [FlowFilter("udp", VIP, 53, LOCAL)]),
    ("an endpoint that terminates and serves", dns(LOCAL, REMOTE), dns(LOCAL, going(REMOTE)), []),
    (
        "an endpoint that fails",
        dns(LOCAL, REMOTE),
        dns(LOCAL, endpoint(REMOTE, ready=False)),
        [FlowFilter("udp", VIP, 53, REMOTE)],
    ),
    (
        "another port of the same endpoints",
        dns(LOCAL, REMOTE),
        dns(LOCAL, REMOTE, ports=(EndpointPort(port=5354, name="dns", protocol="UDP"),)),
        [FlowFilter("udp", VIP, 53, LOCAL), FlowFilter("udp", VIP, 53, REMOTE)],
    ),
    ("an unready endpoint that is offered nevertheless", dns(), published(endpoint(LOCAL, serving=False)), [ALL]),
    ("an endpoint that fails and is still offered", published(LOCAL), published(endpoint(LOCAL, serving=False)), []),
    ("Service deleted", dns(LOCAL), {}, [ALL]),
    ("another ClusterIP", dns(LOCAL), dns(LOCAL, cluster_ip="10.96.0.6"), [ALL, FlowFilter("udp", "10.96.0.6", 53)]),
    ("an external address added", dns(LOCAL), dns(LOCAL, external_ips=("192.0.2.1",)), [FlowFilter("udp", "192.0.2.1", 53)]),
    ("a node port added", dns(LOCAL), dns(LOCAL, type="NodePort"), [FlowFilter("udp", "172.30.1.1", 30053)]),
    ("a policy changed", dns(LOCAL, REMOTE), dns(LOCAL, REMOTE, internal_traffic_policy="Local"), []),
    ("TCP", dict(service_map(service(), slice_of(LOCAL))), {}, []),
    ("nobody knows what was", None, dns(LOCAL, type="NodePort"), [ALL, FlowFilter("udp", "172.30.1.1", 30053)]),
    ("nobody knows what was, and nobody serves", None, dns(), [ALL]),
    ("nobody knows what was, TCP", None, dict(service_map(service(), slice_of(LOCAL))), []),
]


@pytest.mark.parametrize(("old", "new", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_udp_flows_to_what_is_gone_are_forgotten(old: dict | None, new: dict, expected: list) -> None:
    """Only UDP flows that would go astray are forgotten (semantics 6.18)."""
    assert tuple(expected) == stale_flows(old, new, ["172.30.1.1"])


def test_an_address_that_moves_between_services_keeps_what_serves() -> None:
    """A frontend taken over by another Service loses only flows to endpoints that do not serve it any more."""
    taken = {"ns/other": dns(REMOTE)["ns/web"]}

    assert (FlowFilter("udp", VIP, 53, LOCAL),) == stale_flows(dns(LOCAL, REMOTE), taken)


def test_without_node_addresses_a_node_port_is_a_number() -> None:
    """When the caller names no addresses, flows to the node port are matched whatever their destination."""
    assert FlowFilter("udp", "", 30053) in stale_flows({}, dns(LOCAL, type="NodePort"))
