"""A process's Lease: that it lives, and up to which resourceVersion of each kind its node is programmed.

`publish` is called after each round; the Lease is written at once when what it says changed, and every ten seconds
otherwise (the kubelet's renew interval). A server that does not answer is asked again at the next occasion: a Lease
that is not renewed says just what is true then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from netlab.api.resources import LEASES, Json
from netlab.controlplane.client import Client
from netlab.errors import ApiError, LabError, is_not_found

SYNCED = "netlab/synced"
RENEW_INTERVAL = 10.0  # seconds
DURATION = 40  # seconds: Kubernetes' node lease
log = logging.getLogger("netlab.node")


class LeaseKeeper:
    """Keeps one Lease."""

    def __init__(self, client: Client, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._annotations: dict[str, str] = {}
        self._changed = asyncio.Event()

    def publish(self, versions: Mapping[str, str], **annotations: str) -> None:
        """Say that all is programmed up to these resourceVersions (by plural); returns at once."""
        wanted = {SYNCED: msgspec.json.encode(dict(versions), order="sorted").decode(), **annotations}
        if wanted != self._annotations:
            self._annotations = wanted
            self._changed.set()

    async def run(self) -> None:
        """Write the Lease when there is news, and every ten seconds; for ever."""
        while True:
            try:
                async with asyncio.timeout(RENEW_INTERVAL):
                    await self._changed.wait()
            except TimeoutError:
                log.debug("lease=%s renew", self._name)
            self._changed.clear()
            if self._annotations:
                await self._write()

    async def _write(self) -> None:
        body = self._body()
        try:
            try:
                await self._client.patch(LEASES, self._name, body, namespace=self._namespace)
            except ApiError as error:
                if not is_not_found(error):
                    raise
                await self._client.create(LEASES, self._new(body), namespace=self._namespace)
        except (ApiError, LabError, OSError) as error:
            log.warning("lease=%s not written: %s", self._name, error)

    def _body(self) -> Json:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": DURATION, "renewTime": now}
        return {"metadata": {"annotations": self._annotations}, "spec": spec}

    def _new(self, body: Json) -> Json:
        meta = {"name": self._name, "namespace": self._namespace, **body["metadata"]}
        return {**body, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
