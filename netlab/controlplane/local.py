"""LocalClient: the API for code inside the daemon, without a socket. Every object it returns is the caller's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from netlab.api.resources import Json, Resource
from netlab.controlplane.api import Api
from netlab.controlplane.auth import ADMIN
from netlab.controlplane.client import ObjectList, WatchEvent
from netlab.controlplane.failures import as_status
from netlab.controlplane.lists import ListOptions
from netlab.controlplane.options import DeleteOptions, Target
from netlab.controlplane.patches import MERGE_PATCH
from netlab.controlplane.store import decode
from netlab.controlplane.urls import object_name, object_namespace
from netlab.controlplane.watch import WatchOptions


@dataclass(frozen=True)
class LocalClient:
    """Implements netlab.controlplane.client.Client."""

    api: Api
    user: str = ADMIN

    async def list(
        self, resource: Resource[Any], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        options = ListOptions(label_selector, field_selector)
        answer = self.api.list(self.user, Target(resource, namespace), options)
        return ObjectList(tuple(stored.copy() for stored in answer.items), str(answer.version))

    async def get(self, resource: Resource[Any], name: str, *, namespace: str = "") -> Json:
        return self.api.get(self.user, Target(resource, object_namespace(resource, {}, namespace), name)).copy()

    async def create(self, resource: Resource[Any], body: Json, *, namespace: str = "") -> Json:
        target = Target(resource, object_namespace(resource, body, namespace))
        return self.api.create(self.user, target, body).stored.copy()

    async def update(self, resource: Resource[Any], body: Json, *, subresource: str = "") -> Json:
        target = Target(resource, object_namespace(resource, body), object_name(body), subresource)
        return self.api.update(self.user, target, body).stored.copy()

    async def patch(self, resource: Resource[Any], name: str, patch: Json, *, namespace: str = "", subresource: str = "") -> Json:
        target = Target(resource, object_namespace(resource, {}, namespace), name, subresource)
        return self.api.patch(self.user, target, MERGE_PATCH, patch).stored.copy()

    async def delete(
        self, resource: Resource[Any], name: str, *, namespace: str = "", grace_period_seconds: int | None = None
    ) -> Json:
        target = Target(resource, object_namespace(resource, {}, namespace), name)
        return self.api.delete(self.user, target, DeleteOptions(grace_period_seconds)).stored.copy()

    async def watch(
        self, resource: Resource[Any], *, resource_version: str, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[WatchEvent]:
        options = WatchOptions(resource_version)
        batches = self.api.watch(self.user, Target(resource), options, labels=label_selector, fields=field_selector)
        with as_status("watch"):
            async for batch in batches:
                for event in batch:
                    yield WatchEvent(event.type, decode(event.stored.raw))
