from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from proxy_builders import LOCAL, REMOTE, endpoint, going, service, service_map, slice_of

from netlab.api.discovery import EndpointPort
from netlab.api.services import ServicePort
from netlab.proxy.health import HEADERS, Progress, health_check_answers, healthz, livez

CHECKED = service(type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=32000)
ROWS = [
    ("one here", [LOCAL, REMOTE], True, (200, 1)),
    ("two here", [LOCAL, "10.244.1.6"], True, (200, 2)),
    ("none here", [REMOTE], True, (503, 0)),
    ("none", [], True, (503, 0)),
    ("only terminating ones", [going(LOCAL)], True, (503, 0)),
    ("not ready", [endpoint(LOCAL, ready=False)], True, (503, 0)),
    ("proxy behind", [LOCAL], False, (503, 1)),
]


@pytest.mark.parametrize(("endpoints", "healthy", "expected"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_a_load_balancer_is_told_of_ready_local_endpoints(endpoints: list, healthy: bool, expected: tuple) -> None:
    """The health check counts endpoints of this node that are ready, not those that serve for want of better (6.15, 6.16)."""
    answer = health_check_answers(service_map(CHECKED, slice_of(*endpoints)), proxy_healthy=healthy)[32000]
    body = json.loads(answer.body)

    assert expected == (answer.code, body["localEndpoints"])
    assert (
        {"namespace": "ns", "name": "web"},
        healthy,
        (*HEADERS, ("X-Load-Balancing-Endpoint-Weight", str(body["localEndpoints"]))),
    ) == (
        body["service"],
        body["serviceProxyHealthy"],
        answer.headers,
    )


def test_a_pod_with_two_ports_counts_once() -> None:
    """Endpoints are counted by address over all ports of the Service."""
    ports = (ServicePort(port=80, name="http"), ServicePort(port=443, name="https"))
    several = service(ports=ports, type="LoadBalancer", external_traffic_policy="Local", health_check_node_port=32000)
    pieces = slice_of(LOCAL, ports=(EndpointPort(port=8080, name="http"), EndpointPort(port=8443, name="https")))

    assert 1 == json.loads(health_check_answers(service_map(several, pieces))[32000].body)["localEndpoints"]


def test_only_services_with_a_health_check_port_answer() -> None:
    """A Service under Cluster policy has no health check port."""
    assert {} == health_check_answers(service_map(service(type="LoadBalancer"), slice_of(LOCAL)))


NOW = datetime(2026, 11, 20, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=10)
PROGRESS = [
    ("nothing to do", Progress(EARLIER), False, 200, 200),
    ("busy", Progress(EARLIER, NOW - timedelta(seconds=59)), False, 200, 200),
    ("stuck", Progress(EARLIER, NOW - timedelta(seconds=60)), False, 503, 503),
    ("never programmed, stuck", Progress(None, EARLIER), False, 503, 503),
    ("node going", Progress(EARLIER), True, 503, 200),
]


@pytest.mark.parametrize(("progress", "deleting", "health", "live"), [r[1:] for r in PROGRESS], ids=[r[0] for r in PROGRESS])
def test_healthz_tells_progress_and_fate_of_the_node(progress: Progress, deleting: bool, health: int, live: int) -> None:
    """It fails when changes wait too long or the node is going; livez looks at progress alone (semantics 6.17)."""
    answers = healthz(progress, NOW, node_deleting=deleting), livez(progress, NOW, node_deleting=deleting)

    assert (health, live) == tuple(a.code for a in answers)
    assert json.loads(answers[0].body)["nodeEligible"] is not deleting
