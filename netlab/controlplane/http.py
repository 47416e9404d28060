"""HttpClient: the API over TLS, for agents and the edge (asyncio).

Every failure is an ApiError: the server's Status, or 503 ServiceUnavailable when it could not be reached or broke off.
Nothing is tried twice here; the informer decides what to do next. A watch on which nothing came for SILENCE seconds,
although the server sends bookmarks, is taken for dead.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import msgspec

from netlab.api.resources import Json, Resource
from netlab.controlplane import urls
from netlab.controlplane.client import ObjectList, WatchEvent
from netlab.controlplane.status import from_status, unavailable

REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0
SILENCE: Final = 35.0  # three and a half of the server's bookmark intervals
MERGE_PATCH: Final = "application/merge-patch+json"
decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


@cache
def trust(ca_file: str) -> ssl.SSLContext:
    """Return the TLS settings of clients that trust one authority. Called before a fork, its three megabytes are shared."""
    return ssl.create_default_context(cafile=ca_file)


class HttpClient:
    """Implements netlab.controlplane.client.Client. Use as `async with HttpClient(server, ca_file, token) as client:`."""

    def __init__(self, server: str, ca_file: Path | str | None, token: str) -> None:
        self.server = server.rstrip("/")
        self._ca_file = ca_file
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = trust(str(self._ca_file)) if self._ca_file else None
        connector = aiohttp.TCPConnector(ssl=context or True, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ---- verbs
    async def list(
        self, resource: Resource[Any], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        answer = await self.request("GET", urls.list_path(resource, namespace, label_selector, field_selector))
        return ObjectList(tuple(answer["items"]), answer["metadata"]["resourceVersion"])

    async def get(self, resource: Resource[Any], name: str, *, namespace: str = "") -> Json:
        return await self.request("GET", urls.object_path(resource, name, namespace))

    async def create(self, resource: Resource[Any], body: Json, *, namespace: str = "") -> Json:
        path = resource.path(urls.object_namespace(resource, body, namespace))
        return await self.request("POST", urls.with_query(path, urls.STRICT), body)

    async def update(self, resource: Resource[Any], body: Json, *, subresource: str = "") -> Json:
        return await self.request("PUT", urls.with_query(urls.body_path(resource, body, subresource), urls.STRICT), body)

    async def patch(self, resource: Resource[Any], name: str, patch: Json, *, namespace: str = "", subresource: str = "") -> Json:
        path = urls.with_query(urls.object_path(resource, name, namespace, subresource), urls.STRICT)
        return await self.request("PATCH", path, patch, content_type=MERGE_PATCH)

    async def delete(
        self, resource: Resource[Any], name: str, *, namespace: str = "", grace_period_seconds: int | None = None
    ) -> Json:
        return await self.request("DELETE", urls.delete_path(resource, name, namespace, grace_period_seconds))

    async def watch(
        self, resource: Resource[Any], *, resource_version: str, label_selector: str = "", field_selector: str = ""
    ) -> AsyncIterator[WatchEvent]:
        path = urls.watch_path(resource, "", resource_version, label_selector, field_selector)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE)
        try:
            async with self._open().get(self.server + path, timeout=timeout) as response:
                if response.status != 200:
                    raise from_status(response.status, _decoded(await response.read()), path)
                async for line in _lines(response.content):
                    yield _event(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unavailable(f"the watch of {resource.plural} at {self.server} broke off: {_words(error)}") from error

    # ---- requests
    async def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Json:
        """Send one request; returns the decoded answer or raises its Status."""
        headers = {"Content-Type": content_type} if body is not None else {}
        content = None if body is None else encode(body)
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            session = self._open()
            async with session.request(method, self.server + path, data=content, headers=headers, timeout=timeout) as response:
                answer = _decoded(await response.read())
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unavailable(f"the API server at {self.server} cannot be reached: {_words(error)}") from error
        if status >= 400 or not isinstance(answer, dict):
            raise from_status(status, answer, path)
        return answer

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise unavailable(f"the client of {self.server} is closed; use it inside `async with`")
        return self._session


def _decoded(content: bytes) -> Any:
    try:
        return decode(content)
    except msgspec.DecodeError:
        return None


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _event(line: bytes) -> WatchEvent:
    event = decode(line)
    if event["type"] == "ERROR":
        raise from_status(500, event["object"])
    return WatchEvent(event["type"], event["object"])


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a watch; an object may be larger than any line limit of the stream."""
    rest: list[bytes] = []
    async for chunk in content.iter_any():
        *whole, tail = chunk.split(b"\n")
        for line in whole:
            rest.append(line)
            if joined := b"".join(rest):
                yield joined
            rest = []
        if tail:
            rest.append(tail)
