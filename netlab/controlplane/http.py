"""HttpClient: the API over TLS, for agents and the edge (asyncio).

Every failure is an ApiError: the server's Status, or 503 ServiceUnavailable when the connection failed.
It retries nothing; the informer decides what to do next. A watch on which nothing came for WATCH_TIMEOUT seconds,
although the server sends bookmarks, is taken for dead.

A connection carries one exchange at a time, so there are as many as there are watches, and one or two to and fro for the
rest: one whose answer has been read to its end is kept for the next request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from netlab.api.resources import Json, Resource
from netlab.controlplane import urls
from netlab.controlplane.client import ObjectList, WatchEvent
from netlab.controlplane.connection import Connection
from netlab.controlplane.pki import unreachable
from netlab.controlplane.status import from_status, unavailable

REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0
WATCH_TIMEOUT: Final = 35.0  # seconds: three and a half of the server's bookmark intervals
MERGE_PATCH: Final = "application/merge-patch+json"
decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


@cache
def trust(ca_file: str) -> ssl.SSLContext:
    """Return the TLS settings of clients that trust one authority. Called before a fork, its three megabytes are shared."""
    return ssl.create_default_context(cafile=ca_file)


class HttpClient:
    """Implements netlab.controlplane.client.Client. Use as `async with HttpClient(server, ca_file, token) as client:`."""

    def __init__(self, server: str, ca_file: Path | str | None, token: str, watch_timeout: float = WATCH_TIMEOUT) -> None:
        self.server = server.rstrip("/")
        parts = urlsplit(self.server)
        self._address, self._port = parts.hostname or "", parts.port or 443
        self._tls = trust(str(ca_file)) if ca_file else None
        self._headers = (("Authorization", f"Bearer {token}"), ("Accept", "application/json"))
        self._free: list[Connection] = []
        self._is_open = False
        self._watch_timeout = watch_timeout

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. One that is in use is closed when its use ends."""
        self._is_open = False
        while self._free:
            self._free.pop().close()

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
        try:
            async with self._connection() as connection:
                async with asyncio.timeout(self._watch_timeout):
                    status = await connection.ask("GET", path, self._headers)
                if status != 200:
                    raise from_status(status, _decoded(await _whole(connection)), path)
                async for line in _lines(connection.body(), self._watch_timeout):
                    yield _event(line)
        except OSError as error:
            raise unavailable(f"the watch of {resource.plural} at {self.server} failed: {_words(error)}") from error

    # ---- requests
    async def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Json:
        """Send one request; returns the decoded answer or raises its Status."""
        headers = self._headers if body is None else (*self._headers, ("Content-Type", content_type))
        content = b"" if body is None else encode(body)
        try:
            async with asyncio.timeout(REQUEST_SECONDS), self._connection() as connection:
                status = await connection.ask(method, path, headers, content)
                answer = _decoded(await _whole(connection))
        except OSError as error:
            raise unreachable(self.server, error) from error
        if status >= 400 or not isinstance(answer, dict):
            raise from_status(status, answer, path)
        return answer

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for one exchange. It is kept for the next one if it is still usable."""
        if not self._is_open:
            raise unavailable(f"the client of {self.server} is closed; use it inside `async with`")
        while self._free and not self._free[-1].is_free:
            self._free.pop().close()  # the server hung up
        connection = self._free.pop() if self._free else await self._new_connection()
        try:
            yield connection
        finally:
            if connection.is_free and self._is_open:
                self._free.append(connection)
            else:
                connection.close()

    async def _new_connection(self) -> Connection:
        return await Connection.open(self._address, self._port, CONNECT_SECONDS, self._tls)


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


async def _whole(connection: Connection) -> bytes:
    return b"".join([part async for part in connection.body()])


async def _lines(parts: AsyncIterator[bytes], silence_seconds: float) -> AsyncIterator[bytes]:
    """Yield the lines of a watch; an object may be larger than any line limit of the stream."""
    rest: list[bytes] = []
    while part := await _next(parts, silence_seconds):
        *whole, tail = part.split(b"\n")
        for line in whole:
            rest.append(line)
            if joined := b"".join(rest):
                yield joined
            rest = []
        if tail:
            rest.append(tail)


async def _next(parts: AsyncIterator[bytes], silence_seconds: float) -> bytes:
    """Return the next part, b"" at the end; a TimeoutError after a long silence."""
    async with asyncio.timeout(silence_seconds):
        return await anext(parts, b"")
