"""Performs the writes of controllers: the values of `controllers.writes` as verbs of the API.

A caller that plans its own write (the edge, an event) performs it here, without the controllers.
"""

from __future__ import annotations

from netlab.api.resources import Json
from netlab.controlplane.client import Client
from netlab.controlplane.controllers.writes import Create, Delete, Patch, Update, UpdateStatus, Write


async def perform(client: Client, write: Write) -> Json:
    """Do one write and return the object as the server left it."""
    match write:
        case Create(resource, obj):
            return await client.create(resource, resource.encode(obj), namespace=obj.metadata.namespace)
        case Update(resource, obj):
            return await client.update(resource, resource.encode(obj))
        case UpdateStatus(resource, obj):
            return await client.update(resource, resource.encode(obj), subresource="status")
        case Patch(resource, namespace, name, body):
            return await client.patch(resource, name, body, namespace=namespace)
        case Delete(resource, namespace, name, grace):
            return await client.delete(resource, name, namespace=namespace, grace_period_seconds=grace)
