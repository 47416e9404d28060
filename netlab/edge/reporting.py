"""What the edge says about itself: its Lease, and events on Services that it cannot serve (docs/contracts.md).

The Lease kube-system/netlab-edge has two annotations: `netlab/synced`, the resourceVersion per kind up to which the kernel
is programmed, and `netlab/load-balancers`, the healthy nodes of every port. It is written when they change and otherwise
every ten seconds, as a sign of life.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from netlab.api.core import Service
from netlab.api.resources import EVENTS, LEASES, Json
from netlab.controlplane.client import Client
from netlab.dataplane.names import digest
from netlab.edge.rules import Balancing
from netlab.errors import ApiError, is_already_exists, is_not_found

NAMESPACE = "kube-system"
LEASE = "netlab-edge"
SYNCED = "netlab/synced"
LOAD_BALANCERS = "netlab/load-balancers"
COMPONENT = "netlab-edge"
RENEW = timedelta(seconds=10)
LEASE_SECONDS = 40


def health_report(balancing: Balancing) -> dict[str, dict[str, list[str]]]:
    """Return Service -> port -> names of healthy nodes: `{"default/blue-lb": {"80/TCP": ["node1"]}}`."""
    report: dict[str, dict[str, list[str]]] = {}
    for frontend, healthy in balancing.healthy.items():
        report.setdefault(frontend.service_key, {})[frontend.port_key] = [backend.name for backend in healthy]
    return report


def lease_annotations(synced: Mapping[str, str], balancing: Balancing) -> dict[str, str]:
    """Return the Lease's annotations. Keys are in order, so that equal content is equal text."""
    bodies = {SYNCED: dict(synced), LOAD_BALANCERS: health_report(balancing)}
    return {key: msgspec.json.encode(body, order="sorted").decode() for key, body in bodies.items()}


class Reporter:
    """Writes the Lease and the events, no more often than needed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._written: dict[str, str] | None = None
        self._renewed: datetime | None = None
        self._told: set[tuple[str, str]] = set()

    async def renew(self, wanted: dict[str, str], now: datetime) -> None:
        """Write the Lease if it would change or is due. Raises ApiError."""
        if wanted == self._written and self._renewed is not None and now - self._renewed < RENEW:
            return
        spec = {
            "holderIdentity": COMPONENT,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        patch: Json = {"metadata": {"annotations": wanted}, "spec": spec}
        try:
            await self._client.patch(LEASES, LEASE, patch, namespace=NAMESPACE)
        except ApiError as error:
            if not is_not_found(error):
                raise
            metadata = {"name": LEASE, "namespace": NAMESPACE, "annotations": wanted}
            body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
            await self._client.create(LEASES, body, namespace=NAMESPACE)
        self._written, self._renewed = wanted, now

    async def tell(self, service: Service, message: str, now: datetime) -> None:
        """Put a warning event on a Service, once. Raises ApiError."""
        meta = service.metadata
        if (meta.uid, message) in self._told:
            return
        time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        body: Json = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{meta.name}.{digest(meta.uid, message, length=16)}", "namespace": meta.namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Service",
                "namespace": meta.namespace,
                "name": meta.name,
                "uid": meta.uid,
            },
            "reason": "UnsupportedLoadBalancer",
            "message": message,
            "type": "Warning",
            "count": 1,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
        }
        try:
            await self._client.create(EVENTS, body, namespace=meta.namespace)
        except ApiError as error:
            if not is_already_exists(error):
                raise
        self._told.add((meta.uid, message))
