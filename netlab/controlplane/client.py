"""The client interface of the API server: one Protocol for all transports.

`LocalClient` (in the daemon, no socket) and `HttpClient` (agents, over TLS) implement it; both speak JSON objects and
raise `ApiError`. `SyncClient` is its blocking twin for the command line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from netlab.api.resources import Json, Resource


@dataclass(frozen=True)
class ObjectList:
    """The answer to a list: the items and the resourceVersion to watch from."""

    items: tuple[Json, ...]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """One change: `type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Json

    @property
    def resource_version(self) -> str:
        return str(self.object["metadata"]["resourceVersion"])


class Client(Protocol):
    """The verbs of the Kubernetes API. All raise ApiError on a Status of failure."""

    async def list(
        self, resource: Resource[Any], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Return the objects of all namespaces, or of one."""

    async def get(self, resource: Resource[Any], name: str, *, namespace: str = "") -> Json:
        """Return one object."""

    async def create(self, resource: Resource[Any], body: Json, *, namespace: str = "") -> Json:
        """Create an object and return it as stored."""

    async def update(self, resource: Resource[Any], body: Json, *, subresource: str = "") -> Json:
        """Replace an object; a stale metadata.resourceVersion is a Conflict, none at all means "whatever is there"."""

    async def patch(self, resource: Resource[Any], name: str, patch: Json, *, namespace: str = "", subresource: str = "") -> Json:
        """Merge-patch an object (RFC 7386). A patch that changes nothing keeps the resourceVersion."""

    async def delete(
        self, resource: Resource[Any], name: str, *, namespace: str = "", grace_period_seconds: int | None = None
    ) -> Json:
        """Delete an object; a Pod first gets a deletionTimestamp unless the grace period is 0."""

    def watch(
        self, resource: Resource[Any], *, resource_version: str, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Yield changes after `resource_version`, for ever. Raises ApiError 410 when it is too old."""
