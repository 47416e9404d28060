"""What the edge says about itself: the health behind every load balancer address, and events on Services it cannot serve.

The health is the annotation `netlab/load-balancers` of the Lease kube-system/netlab-edge (docs/contracts.md).
"""

from __future__ import annotations

from datetime import datetime

from netlab.api.core import Service
from netlab.api.resources import EVENTS, Json
from netlab.controlplane.client import Client
from netlab.dataplane.names import digest
from netlab.edge.rules import Balancing
from netlab.errors import ApiError, is_already_exists

NAMESPACE = "kube-system"
LEASE = "netlab-edge"
COMPONENT = "netlab-edge"


def health_report(balancing: Balancing) -> dict[str, dict[str, list[str]]]:
    """Return Service -> port -> names of healthy nodes: `{"default/blue-lb": {"80/TCP": ["node1"]}}`."""
    report: dict[str, dict[str, list[str]]] = {}
    for frontend, healthy in balancing.healthy.items():
        report.setdefault(frontend.service_key, {})[frontend.port_key] = [backend.name for backend in healthy]
    return report


class Reporter:
    """Writes events, each once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._told: set[tuple[str, str]] = set()

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
