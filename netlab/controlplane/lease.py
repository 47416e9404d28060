"""A process's Lease: that it lives, and up to which resourceVersion of each kind its node is programmed.

The annotation `netlab/synced` holds the versions (docs/architecture.md); `up` waits for it. A Lease is written when its
content has changed, and otherwise every ten seconds, as the kubelet renews its own. Its holder is the process, not only the
node: what a process that died has reported about its kernel's rules is true, but about its DNS server it is not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from netlab.api.resources import LEASES, Json
from netlab.api.times import micro_timestamp
from netlab.api.wellknown import SYNCED, split_key
from netlab.controlplane.client import Client
from netlab.controlplane.informer import Informer
from netlab.errors import ApiError, is_not_found

NOTHING: Mapping[str, object] = {}
RENEW_SECONDS = 10.0  # between two writes without news
LEASE_SECONDS = 40  # Kubernetes' node lease


def holder_identity(name: str, start: int) -> str:
    """Return the name of a process in its Lease: from its start time, which is unique among the writers."""
    return f"{name}_{start}"


def synced_versions(informers: Iterable[Informer[Any]]) -> dict[str, str]:
    """Return how far informers have come, by plural; take it before what they hold is looked at."""
    return {informer.resource.plural: str(informer.resource_version) for informer in informers}


class LeaseKeeper:
    """Writes one Lease, no more often than needed."""

    def __init__(self, client: Client, key: str, start: int) -> None:
        self._client = client
        self._namespace, self._name = split_key(key)
        self._start = start
        self._written: dict[str, str] | None = None
        self._renewed = -RENEW_SECONDS  # by a monotonic clock: one set back would keep the Lease from being renewed

    async def renew(self, synced: Mapping[str, str], more: Mapping[str, object] = NOTHING) -> None:
        """Report that all is programmed up to these versions, and `more`: bodies of further annotations. Raises ApiError."""
        moment = time.monotonic()
        wanted = {key: msgspec.json.encode(body, order="sorted").decode() for key, body in {SYNCED: synced, **more}.items()}
        if wanted == self._written and moment - self._renewed < RENEW_SECONDS:
            return
        await self._write(wanted, datetime.now(UTC))
        self._written, self._renewed = wanted, moment

    async def _write(self, annotations: dict[str, str], now: datetime) -> None:
        renewed = micro_timestamp(now)
        spec = {
            "holderIdentity": holder_identity(self._name, self._start),
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": renewed,
        }
        try:
            patch: Json = {"metadata": {"annotations": annotations}, "spec": spec}
            await self._client.patch(LEASES, self._name, patch, namespace=self._namespace)
        except ApiError as error:
            if not is_not_found(error):
                raise
            meta = {"name": self._name, "namespace": self._namespace, "annotations": annotations}
            body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": meta, "spec": spec}
            await self._client.create(LEASES, body, namespace=self._namespace)
