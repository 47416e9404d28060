"""What a service proxy answers to those who ask for its health; the agent only serves it (semantics 6.15 to 6.17).

Two questions, two ports:
- A load balancer asks `healthCheckNodePort` of a Service with externalTrafficPolicy Local: has this node an endpoint?
  200 with at least one *ready* endpoint here, else 503; X-Load-Balancing-Endpoint-Weight says how many. Endpoints that
  are terminating still get the traffic that comes (the data path falls back to them), but the answer is 503 already, so
  that new traffic goes elsewhere.
- Anybody asks `/healthz` on port 10256: does the proxy keep up, and is the node to stay? `/livez` asks the first only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from netlab.proxy.serviceport import ServicePortMap

HEALTHZ_PORT = 10256
SYNC_PERIOD = timedelta(seconds=30)
OK, SERVICE_UNAVAILABLE = 200, 503
CONTENT_TYPE = "application/json"
ENDPOINT_WEIGHT = "X-Load-Balancing-Endpoint-Weight"
HEADERS = (("X-Content-Type-Options", "nosniff"),)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    code: int
    body: str
    content_type: str = CONTENT_TYPE
    headers: tuple[tuple[str, str], ...] = HEADERS


def health_check_answers(service_map: ServicePortMap, *, proxy_healthy: bool = True) -> dict[int, Answer]:
    """Return the answer of every healthCheckNodePort to be served: port -> answer."""
    return {
        ports[0].health_check_node_port: service_health(ports[0].namespace, ports[0].service, count, proxy_healthy=proxy_healthy)
        for ports in service_map.values()
        if ports[0].health_check_node_port
        for count in [len({e.address for port in ports for e in port.ready_local_endpoints})]
    }


def service_health(namespace: str, service: str, local_endpoints: int, *, proxy_healthy: bool) -> Answer:
    """Return the answer for one Service with so many ready endpoints on this node."""
    body = {
        "service": {"namespace": namespace, "name": service},
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": proxy_healthy,
    }
    code = OK if local_endpoints and proxy_healthy else SERVICE_UNAVAILABLE
    return Answer(code, json.dumps(body, indent="\t"), headers=(*HEADERS, (ENDPOINT_WEIGHT, str(local_endpoints))))


@dataclass(frozen=True)
class Progress:
    """How far the proxy is: when it last programmed the kernel, and since when a change has been waiting (if one has)."""

    last_updated: datetime | None = None
    waiting_since: datetime | None = None


def is_healthy(progress: Progress, now: datetime, *, sync_period: timedelta = SYNC_PERIOD) -> bool:
    """Tell whether the proxy keeps up: nothing has been waiting for more than twice its period (semantics 6.17)."""
    return progress.waiting_since is None or now - progress.waiting_since < 2 * sync_period


def healthz(progress: Progress, now: datetime, *, node_deleting: bool = False, sync_period: timedelta = SYNC_PERIOD) -> Answer:
    """Answer `/healthz`: 503 also when the node is going to be deleted, so that load balancers drain it."""
    return _answer(progress, now, healthy=is_healthy(progress, now, sync_period=sync_period), node_eligible=not node_deleting)


def livez(progress: Progress, now: datetime, *, node_deleting: bool = False, sync_period: timedelta = SYNC_PERIOD) -> Answer:
    """Answer `/livez`, which is about the proxy alone: its process must not be restarted because its node goes."""
    healthy = is_healthy(progress, now, sync_period=sync_period)
    answer = _answer(progress, now, healthy=healthy, node_eligible=not node_deleting)
    return Answer(OK if healthy else SERVICE_UNAVAILABLE, answer.body)


def _answer(progress: Progress, now: datetime, *, healthy: bool, node_eligible: bool) -> Answer:
    updated = now if progress.waiting_since is None else progress.last_updated  # with nothing to do it is up to date
    body = {"lastUpdated": str(updated or ""), "currentTime": str(now), "nodeEligible": node_eligible}
    return Answer(OK if healthy and node_eligible else SERVICE_UNAVAILABLE, json.dumps(body))
