"""What the edge says about itself: the health behind every load balancer address, and events on Services it cannot serve.

The health is the annotation `netlab/load-balancers` of the Lease kube-system/netlab-edge (docs/architecture.md).
"""

from __future__ import annotations

from datetime import UTC, datetime

from netlab.api.coordination import Health
from netlab.api.services import Service
from netlab.api.times import timestamp
from netlab.controlplane.client import Client
from netlab.controlplane.controllers.writes import event
from netlab.controlplane.performing import perform
from netlab.edge.rules import Balancing
from netlab.errors import ApiError, is_already_exists
from netlab.recent import Recent

COMPONENT = "netlab-edge"


def health_report(balancing: Balancing) -> Health:
    """Return Service -> port -> names of healthy nodes: `{"default/blue-lb": {"80/TCP": ["node1"]}}`."""
    report: Health = {}
    for frontend, healthy in balancing.healthy.items():
        report.setdefault(frontend.service_key, {})[frontend.port_key] = [backend.name for backend in healthy]
    return report


class Reporter:
    """Writes events, each once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._told: Recent[tuple[str, str]] = Recent()

    async def tell(self, service: Service, message: str) -> None:
        """Put a warning event on a Service, once. Raises ApiError."""
        told = (service.metadata.uid, message)
        if told in self._told:
            return
        now = timestamp(datetime.now(UTC))
        write = event(service, now, reason="UnsupportedLoadBalancer", message=message, component=COMPONENT, warning=True)
        try:
            await perform(self._client, write)
        except ApiError as error:
            if not is_already_exists(error):
                raise
        self._told.add(told)
