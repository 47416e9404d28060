"""The REST server: aiohttp around `Api`, on sockets that another process has bound.

- The daemon binds one socket on host loopback and one inside the fabric's namespace; this module only listens on them.
  How many connections a client may have, and how slow it may be, is in `netlab.controlplane.connections`.
- One catch-all handler: paths are read by `requests.parse_path`, so a new kind needs no route.
- A middleware authenticates (bearer token) and turns every ApiError into a Status. The health endpoints and /version
  answer anybody, as in Kubernetes.
- Additional endpoints of the daemon come as `extra_routes`, behind the same middleware: their handlers run for users only,
  and may raise ApiErrors.
- Answers are JSON only, made of the bytes that the store holds already.
- A watch sends pieces of at most PIECE bytes. A watcher that does not take one within `ApiTimeouts.watch_write` seconds is cut
  off: what waits for it is bounded by the buffers of one connection, not by what changes in the meantime.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from netlab.controlplane import requests
from netlab.controlplane.api import Api
from netlab.controlplane.auth import ANONYMOUS
from netlab.controlplane.bounds import LARGEST_BODY
from netlab.controlplane.connections import TIMEOUTS, ApiTimeouts, Seats, aiohttp_log, api_roster
from netlab.controlplane.discovery import documents
from netlab.controlplane.failures import as_status
from netlab.controlplane.kinds.table import kind_of
from netlab.controlplane.options import Target, Written
from netlab.controlplane.patches import FORMATS
from netlab.controlplane.status import (
    method_not_allowed,
    no_such_path,
    not_acceptable,
    success,
    to_status,
    too_large,
    unauthorized,
    unavailable,
)
from netlab.controlplane.store import encode
from netlab.controlplane.watch import Batch
from netlab.errors import ApiError
from netlab.serving.listener import Listener
from netlab.serving.roster import Roster

log = logging.getLogger("netlab.controlplane")
SHUTDOWN_SECONDS: Final = 0.2  # for answers on their way; all work is done before they are sent
PIECE: Final = 64 * 1024  # bytes of a watch written at once; a single larger event is one piece
LONGEST_WARNING: Final = 256  # characters; Kubernetes' limits, as a client reads no longer header
LONGEST_WARNINGS: Final = 4096
OPEN_PATHS: Final = frozenset({"/healthz", "/livez", "/readyz", "/version"})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def json_response(body: object, status: int = 200, *, warnings: Iterable[str] = ()) -> web.Response:
    """Return a JSON answer; bytes are sent as they are. Warnings become Kubernetes' Warning headers."""
    content = body if isinstance(body, bytes) else encode(body)
    response = web.Response(body=content, status=status, content_type=requests.JSON_TYPE)
    for header in warning_headers(warnings):
        response.headers.add("Warning", header)
    return response


def warning_headers(warnings: Iterable[str]) -> Iterator[str]:
    """Yield the values of Warning headers: ASCII on one line each, as many as a client will read."""
    room = LONGEST_WARNINGS
    for warning in warnings:
        text = warning[:LONGEST_WARNING]
        header = f'299 - "{json.dumps(text)[1:-1]}"'
        room -= len(header)
        if room < 0:
            return
        yield header


def status_response(error: ApiError) -> web.Response:
    """Return the Status of an error."""
    return json_response(to_status(error), error.code)


def accepts_json(header: str) -> bool:
    """Return whether a client reads plain JSON; kubectl lists it after Table and protobuf."""
    kinds = [part.partition(";")[0].strip() for part in header.split(",")]
    return not header or any(kind in {requests.JSON_TYPE, "application/*", "*/*"} for kind in kinds)


@dataclass
class RestServer:
    """The handlers. `watching` are the tasks of open watches, ended when the server closes."""

    api: Api
    seats: Seats
    ready: Callable[[], bool] = lambda: True
    pages: dict[str, object] = field(default_factory=documents)
    watching: set[asyncio.Task[object]] = field(default_factory=set)
    closing: bool = False
    reading_yaml: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    def application(self, extra_routes: Sequence[web.RouteDef] = ()) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self.middleware], client_max_size=LARGEST_BODY)
        app.router.add_routes(extra_routes)
        app.router.add_route("*", "/{path:.*}", self.handle)
        app.on_shutdown.append(self.end_watches)
        return app

    async def end_watches(self, _: web.Application) -> None:
        """Break off the open watches: their clients come back to the next server. New ones are refused from now on."""
        self.closing = True
        for task in self.watching:
            task.cancel()

    def user(self, request: web.Request) -> str:
        """Return the user of a request."""
        return self.api.tokens.authenticate(request.headers.get("Authorization"))

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authenticate, and answer every failure with a Status."""
        with self.seats.serving(request) as seat:
            try:
                with as_status(request.method, web.HTTPException):
                    if self.user(request) != ANONYMOUS:
                        seat.prove()
                    elif request.path not in OPEN_PATHS:
                        raise unauthorized()
                    await _receive_body(request, self.seats.timeouts.body)
                    return await handler(request)
            except ApiError as error:
                if request.writer.output_size:  # an answer that has begun cannot become a Status
                    raise ConnectionResetError(error.message) from error
                return status_response(error)
            except web.HTTPRequestEntityTooLarge:
                return status_response(too_large(LARGEST_BODY))
        raise AssertionError  # as_status has raised

    # ---- one request
    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any path."""
        path = request.path
        if path in {"/healthz", "/livez", "/readyz"}:
            good = path != "/readyz" or self.ready()
            return web.Response(text="ok" if good else "not ready", status=200 if good else 503)
        page = self.pages.get(path.rstrip("/") or "/")
        if page is not None:
            return json_response(page)
        target = requests.parse_path(path)
        if target is None:
            raise no_such_path()
        if not accepts_json(request.headers.get("Accept", "")):
            raise not_acceptable()
        table = OBJECT_METHODS if target.name else COLLECTION_METHODS
        if target.subresource:
            table = SUBRESOURCE_METHODS[target.subresource]
        if request.method not in table:
            raise method_not_allowed()
        return await table[request.method](self, request, target)

    async def list_or_watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        if requests.flag(request.query, "watch"):
            return await self.watch(request, target)
        answer = self.api.list(self.user(request), target, requests.list_options(request.query))
        return json_response(answer.render(target.resource))

    async def get(self, request: web.Request, target: Target) -> web.StreamResponse:
        if requests.flag(request.query, "watch"):  # of one object, as older clients ask
            return await self.watch(request, Target(target.resource, target.namespace), f"metadata.name={target.name}")
        return json_response(self.api.get(self.user(request), target).raw)

    async def create(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.resource.namespaced and not target.namespace:
            raise method_not_allowed()
        sent = await self._body(request)
        body = requests.read_body(sent)
        return _written(self.api.create(self.user(request), target, body, requests.write_options(request.query, sent)))

    async def update(self, request: web.Request, target: Target) -> web.StreamResponse:
        sent = await self._body(request)
        body = requests.read_body(sent)
        return _written(self.api.update(self.user(request), target, body, requests.write_options(request.query, sent)))

    async def patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        sent = await self._body(request)
        patch = requests.read_body(sent, tuple(FORMATS))
        options = requests.write_options(request.query, sent)
        return _written(self.api.patch(self.user(request), target, sent.media_type, patch, options))

    async def bind(self, request: web.Request, target: Target) -> web.StreamResponse:
        sent = await self._body(request)
        self.api.bind(self.user(request), target, requests.read_body(sent), requests.write_options(request.query, sent))
        return json_response({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)

    async def delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = requests.delete_options(request.query, await self._options_body(request))
        written = self.api.delete(self.user(request), target, options)
        meta = written.stored.body["metadata"]
        if written.gone and not kind_of(target.resource).returns_deleted:
            return json_response(success(target.resource, target.name, meta["uid"]))
        return json_response(written.stored.raw)

    async def delete_collection(self, request: web.Request, target: Target) -> web.StreamResponse:
        if target.resource.namespaced and not target.namespace:
            raise method_not_allowed()
        options = requests.delete_options(request.query, await self._options_body(request))
        answer = self.api.delete_collection(self.user(request), target, requests.list_options(request.query), options)
        return json_response(answer.render(target.resource))

    async def _body(self, request: web.Request) -> requests.Body:
        """Return the body of a request, YAML as JSON. Without a Content-Type it is JSON, as in Kubernetes.

        YAML of 3 MiB takes seconds and hundreds of MB to read: one at a time, in a thread.
        """
        given = request.headers.get("Content-Type")
        body = requests.Body(await request.read(), request.content_type if given else requests.JSON_TYPE)
        if body.media_type != requests.YAML_TYPE:
            return body
        async with self.reading_yaml:
            return await asyncio.to_thread(requests.json_body, body)

    async def _options_body(self, request: web.Request) -> object:
        sent = await self._body(request)
        return requests.read_body(sent, (requests.JSON_TYPE, "application/octet-stream")) if sent.content else None

    # ---- watch
    async def watch(self, request: web.Request, target: Target, fields: str = "") -> web.StreamResponse:
        """Stream changes as JSON lines until the client leaves, its timeout passes or its position is lost (410)."""
        if self.closing:
            raise unavailable("the API server is shutting down; restart the watch")
        query = request.query
        chosen = ",".join(text for text in (fields, query.get("fieldSelector", "")) if text)
        options = requests.watch_options(query)
        batches = self.api.watch(self.user(request), target, options, labels=query.get("labelSelector", ""), fields=chosen)
        seconds = requests.watch_seconds(query)
        response = web.StreamResponse(headers={"Content-Type": requests.JSON_TYPE})
        response.enable_chunked_encoding()
        await response.prepare(request)
        task = asyncio.current_task()
        if task is not None:
            self.watching.add(task)
        try:
            async with asyncio.timeout(seconds):
                await _stream(response, batches, self.seats.timeouts.watch_write)
        except StalledError:
            log.warning("watch=cut kind=%s peer=%s reason=%r", target.resource.plural, request.remote, "the client does not read")
            if request.transport is not None:
                request.transport.abort()
            return response
        except (TimeoutError, ConnectionError):  # the client asked for an end, or left
            pass
        finally:
            if task is not None:
                self.watching.discard(task)
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response


async def _receive_body(request: web.Request, seconds: float) -> None:
    """Read the body, which handlers then find read; 408 when it does not arrive in time."""
    try:
        async with asyncio.timeout(seconds):
            await request.read()
    except TimeoutError as error:
        message = f"the body of the request did not arrive within {seconds:.0f} s"
        raise ApiError(408, "Timeout", message) from error


class StalledError(Exception):
    """A watcher has not taken what was written for it."""


async def _stream(response: web.StreamResponse, batches: AsyncIterator[Batch], write_seconds: float) -> None:
    try:
        with as_status("watch", StalledError):
            async for batch in batches:
                for piece in pieces(batch):
                    await _write(response, piece, write_seconds)
    except ApiError as error:
        line = encode({"type": "ERROR", "object": to_status(error)}) + b"\n"
        await _write(response, line, write_seconds)


async def _write(response: web.StreamResponse, piece: bytes, seconds: float) -> None:
    """Write, and wait until what waits for the client is little again."""
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            await response.write(piece)
    except TimeoutError as error:
        if deadline.expired():
            raise StalledError from error
        raise


def pieces(batch: Batch) -> Iterator[bytes]:
    """Yield the lines of a batch, joined to pieces of at most PIECE bytes."""
    lines: list[bytes] = []
    size = 0
    for event in batch:
        if lines and size + len(event.line) > PIECE:
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(event.line)
        size += len(event.line)
    if lines:
        yield b"".join(lines)


def _written(written: Written) -> web.Response:
    return json_response(written.stored.raw, 201 if written.created else 200, warnings=written.warnings)


Method = Callable[[RestServer, web.Request, Target], Awaitable[web.StreamResponse]]
COLLECTION_METHODS: Final[dict[str, Method]] = {
    "GET": RestServer.list_or_watch,
    "POST": RestServer.create,
    "DELETE": RestServer.delete_collection,
}
OBJECT_METHODS: Final[dict[str, Method]] = {
    "GET": RestServer.get,
    "PUT": RestServer.update,
    "PATCH": RestServer.patch,
    "DELETE": RestServer.delete,
}
SUBRESOURCE_METHODS: Final[dict[str, dict[str, Method]]] = {
    "status": {"GET": RestServer.get, "PUT": RestServer.update, "PATCH": RestServer.patch},
    "binding": {"POST": RestServer.bind},
}


@dataclass(frozen=True)
class ServerHandle:
    """A running server."""

    runner: web.AppRunner
    listeners: Sequence[Listener]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        for listener in self.listeners:
            listener.close()
        await self.runner.cleanup()


async def serve(
    api: Api,
    sockets: Sequence[socket.socket],
    ssl_context: ssl.SSLContext | None,
    *,
    extra_routes: Sequence[web.RouteDef] = (),
    ready: Callable[[], bool] = lambda: True,
    roster: Roster | None = None,
    timeouts: ApiTimeouts = TIMEOUTS,
) -> ServerHandle:
    """Serve the API on bound sockets. Without an ssl_context it is plain HTTP, for tests.

    Servers of one process share a `roster`, so that its bounds hold for all of them together.
    """
    seats = Seats(roster or api_roster(timeouts), timeouts)
    rest = RestServer(api, seats, ready)
    runner = web.AppRunner(
        rest.application(extra_routes),
        access_log=None,
        logger=aiohttp_log(),
        keepalive_timeout=timeouts.idle,
        lingering_time=timeouts.linger,
        shutdown_timeout=SHUTDOWN_SECONDS,
        handle_signals=False,
    )
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError("aiohttp's runner has no server after setup")
    for bound in sockets:
        log.info("event=listening address=%s", bound.getsockname())
    return ServerHandle(runner, [seats.listen(server, bound, ssl_context) for bound in sockets])
