"""SyncClient: the API for the command line, blocking, on the standard library (aiohttp would cost 100 ms of import).

One connection is kept open between requests; one that the server has closed is opened again before the next
request is sent. Failures are ApiErrors, as in HttpClient: the server's Status, or 503 ServiceUnavailable.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from netlab.api.resources import Json, Resource
from netlab.controlplane import urls
from netlab.controlplane.client import ObjectList, WatchEvent
from netlab.controlplane.pki import unreachable
from netlab.controlplane.status import from_status
from netlab.files import socket_address

REQUEST_TIMEOUT: Final = 30.0  # seconds
MERGE_PATCH: Final = "application/merge-patch+json"


class SyncClient:
    """The verbs of the API, blocking. `server` is https://host:port; plain http is for tests.

    `door`: a Unix socket at which that server listens as well, for a caller that cannot reach its address.
    """

    def __init__(
        self, server: str, ca_file: Path | str | None, token: str, *, timeout: float = REQUEST_TIMEOUT, door: Path | None = None
    ) -> None:
        self.server = server.rstrip("/")
        self._parts = urlsplit(self.server)
        self._ca_file = ca_file
        self._token = token
        self._timeout = timeout
        self._door = door
        self._context = ssl.create_default_context(cafile=ca_file if self._parts.scheme == "https" else None)
        self._kept: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    # ---- verbs
    def list(
        self, resource: Resource[Any], *, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> ObjectList:
        """Return the objects of all namespaces, or of one."""
        answer = self.request("GET", urls.list_path(resource, namespace, label_selector, field_selector))
        return ObjectList(tuple(answer["items"]), answer["metadata"]["resourceVersion"])

    def get(self, resource: Resource[Any], name: str, *, namespace: str = "") -> Json:
        """Return one object."""
        return self.request("GET", urls.object_path(resource, name, namespace))

    def create(self, resource: Resource[Any], body: Json, *, namespace: str = "") -> Json:
        """Create an object and return it as stored."""
        path = resource.path(urls.object_namespace(resource, body, namespace))
        return self.request("POST", urls.with_query(path, urls.STRICT), body)

    def update(self, resource: Resource[Any], body: Json, *, subresource: str = "") -> Json:
        """Replace an object."""
        return self.request("PUT", urls.with_query(urls.body_path(resource, body, subresource), urls.STRICT), body)

    def patch(self, resource: Resource[Any], name: str, patch: Json, *, namespace: str = "", subresource: str = "") -> Json:
        """Merge-patch an object."""
        path = urls.with_query(urls.object_path(resource, name, namespace, subresource), urls.STRICT)
        return self.request("PATCH", path, patch, content_type=MERGE_PATCH)

    def delete(self, resource: Resource[Any], name: str, *, namespace: str = "", grace_period_seconds: int | None = None) -> Json:
        """Delete an object."""
        return self.request("DELETE", urls.delete_path(resource, name, namespace, grace_period_seconds))

    def watch(
        self,
        resource: Resource[Any],
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout: float | None = None,
    ) -> Iterator[WatchEvent]:
        """Yield changes for ever; 503 when nothing, not even a bookmark, came for `timeout` seconds."""
        path = urls.watch_path(resource, "", resource_version, label_selector, field_selector)
        for line in self.stream("GET", path, timeout=timeout):
            event = msgspec.json.decode(line)
            if event["type"] == "ERROR":
                raise from_status(500, event["object"], path)
            yield WatchEvent(event["type"], event["object"])

    # ---- requests
    def raw(self, path: str) -> bytes:
        """Return the bytes that GET of a path answers."""
        status, content = self._exchange("GET", path, None, "")
        return self._checked(status, content, path)

    def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Json:
        """Send one request; returns the decoded answer or raises its Status."""
        content = None if body is None else msgspec.json.encode(body)
        status, answer = self._exchange(method, path, content, content_type)
        decoded: Json = _decoded(self._checked(status, answer, path))
        return decoded

    def stream(self, method: str, path: str, body: Any = None, *, timeout: float | None = None) -> Iterator[bytes]:
        """Send one request on a separate connection and yield the lines of its answer as they come."""
        content = None if body is None else msgspec.json.encode(body)
        connection = self._connection(timeout or self._timeout)
        try:
            with self._translated():
                connection.request(method, path, content, self._headers("application/json" if content else ""))
                response = connection.getresponse()
                if response.status >= 400:
                    self._checked(response.status, response.read(), path)
            while line := self._line(response):
                if stripped := line.strip():
                    yield stripped
        finally:
            connection.close()

    def _line(self, response: http.client.HTTPResponse) -> bytes:
        with self._translated():
            return response.readline()

    def _exchange(self, method: str, path: str, content: bytes | None, content_type: str) -> tuple[int, bytes]:
        connection = self._kept or self._connection(self._timeout)
        self._kept = None
        if connection.sock is not None and _is_closed(connection.sock):
            connection.close()  # http.client opens it again
        with self._translated():
            try:
                connection.request(method, path, content, self._headers(content_type if content else ""))
                response = connection.getresponse()
                answer = response.read()
            except BaseException:
                connection.close()
                raise
        self._kept = connection
        return response.status, answer

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        return {**headers, "Content-Type": content_type} if content_type else headers

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout)
        if self._door is not None:
            return _ThroughDoor(self._door, host, timeout=timeout, context=self._context)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)

    def _checked(self, status: int, content: bytes, path: str) -> bytes:
        if status >= 400:
            raise from_status(status, _decoded(content), path)
        return content

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.server, error) from error


class _ThroughDoor(http.client.HTTPSConnection):
    """TLS with `host`, over a Unix socket."""

    def __init__(self, door: Path, host: str, *, timeout: float, context: ssl.SSLContext) -> None:
        super().__init__(host, timeout=timeout, context=context)
        self._door = door
        self._tls = context

    def connect(self) -> None:
        """Open the connection: what HTTPSConnection does, at another address."""
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(self.timeout)
        try:
            with socket_address(self._door) as address:
                plain.connect(address)
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except OSError:
            plain.close()
            raise


def _is_closed(kept: Any) -> bool:
    """Return whether the server has ended an idle connection: then it is readable, and there is nothing to read."""
    before = kept.gettimeout()
    kept.settimeout(0)
    try:
        return not kept.recv(1) or True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        kept.settimeout(before)


def _decoded(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return None
