"""The text of the service proxy's whole table, for Services of every kind."""

from __future__ import annotations

from pathlib import Path

from proxy_builders import CLIENT, CONFIG, FLANNEL, LOCAL, REMOTE, service, service_map, slice_of

from netlab.api.discovery import EndpointPort
from netlab.api.services import ServicePort
from netlab.netfilter.script import render
from netlab.proxy.nftables import compile_services

RANGES = ("203.0.113.0/24", "172.30.0.0/16")
UDP = {
    "ports": (ServicePort(port=53, name="dns", protocol="UDP", node_port=30053),),
    "type": "NodePort",
}
SERVICES = (
    service(cluster_ip="10.96.0.1", session_affinity="ClientIP"),
    slice_of(LOCAL, REMOTE),
    service(
        name="lb",
        cluster_ip="10.96.0.2",
        type="LoadBalancer",
        lb="198.51.100.1",
        external_ips=("192.0.2.1",),
        external_traffic_policy="Local",
        load_balancer_source_ranges=RANGES,
    ),
    slice_of(LOCAL, REMOTE, CLIENT, name="lb-1", service="lb"),
    service(
        name="none-here",
        cluster_ip="10.96.0.3",
        internal_traffic_policy="Local",
        external_traffic_policy="Local",
        **UDP,
    ),
    slice_of(
        REMOTE,
        name="none-here-1",
        service="none-here",
        ports=(EndpointPort(port=5353, name="dns", protocol="UDP"),),
    ),
    service(
        name="none",
        cluster_ip="10.96.0.4",
        **UDP | {"ports": (ServicePort(port=7, node_port=30007),)},
    ),
)
EXPECTED = Path(__file__).with_name("kube-proxy.nft")


def test_proxy_tables_are_this_text() -> None:
    """The file holds what nft receives; a change of the text replaces the rules of running labs."""
    in_order = dict(sorted(service_map(*SERVICES).items()))

    assert EXPECTED.read_text() == render(FLANNEL) + render(compile_services(in_order, CONFIG))
