"""Status: what kubelets, agents and controllers report, validated as Kubernetes does.

Rules, routes and names of other hosts are made from these fields, and a node's token may write
them, so they hold parsed addresses and names only.
"""

from __future__ import annotations

from collections.abc import Iterator

from netlab.api.pods import PodStatus
from netlab.api.services import Service
from netlab.topology.problem import Problem, forbidden, invalid, required
from netlab.topology.syntax import ADDRESS

INGRESS = ("status", "loadBalancer", "ingress")


def pod_status_problems(status: PodStatus) -> Iterator[Problem]:
    """Yield what is wrong with a pod's status, beyond its single fields."""
    at = ("status", "podIPs")
    if len(status.pod_ips) > 1:
        yield invalid(at, len(status.pod_ips), "may contain one address only: the networks of a lab are IPv4")
    elif status.pod_ips and status.pod_ips[0].ip != status.pod_ip:
        yield invalid((*at, 0, "ip"), status.pod_ips[0].ip, "must be equal to `podIP`")


def service_status_problems(service: Service) -> Iterator[Problem]:
    """Yield what is wrong with the addresses of a load balancer."""
    ingress = service.status.load_balancer.ingress
    if ingress and service.spec.type != "LoadBalancer":
        yield forbidden(INGRESS, "may only be used when `spec.type` is 'LoadBalancer'")
    for index, point in enumerate(ingress):
        at = (*INGRESS, index)
        if point.ip_mode and not point.ip:
            yield forbidden((*at, "ipMode"), "may not be specified when `ip` is not set")
        if not point.ip and not point.hostname:
            yield required(at, "must specify `ip` or `hostname`")
        if point.hostname and not ADDRESS.fault(point.hostname):
            yield invalid((*at, "hostname"), point.hostname, "must be a DNS name, not an IP address")
