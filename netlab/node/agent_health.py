"""The HTTP servers of a node's service proxy: its own health, and how many local endpoints a Service has.

:10256 /healthz, /livez          is the proxy in sync (semantics 6.17)
127.0.0.1:10249 /proxyMode       which mode it runs in
:<healthCheckNodePort> any path  for load balancers, under externalTrafficPolicy Local (semantics 6.15, 6.16)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from netlab.node.http_messages import HttpHandler, Request, Response, text
from netlab.node.http_server import Connections, HttpConnection, HttpService
from netlab.proxy.health import HEALTHZ_PORT, Answer

METRICS_PORT = 10249
NOT_FOUND = Response(status=404)
log = logging.getLogger("netlab.node")


class HealthServers:
    """The servers of one node; `update` opens, changes and closes those of Services."""

    def __init__(self, own: Callable[[bool], Answer], mode: str) -> None:
        self._own = own  # the proxy's own health; True asks for /livez
        self._mode = mode
        self._answers: Mapping[int, Answer] = {}
        self._servers: dict[int, tuple[asyncio.Server, Connections]] = {}

    async def start(self) -> None:
        """Open the proxy's own two servers."""
        await self._open(HEALTHZ_PORT, None, self._serve_health)
        await self._open(METRICS_PORT, "127.0.0.1", self._serve_metrics)

    async def update(self, answers: Mapping[int, Answer]) -> None:
        """Serve these answers by port, and no others."""
        self._answers = answers
        for port in set(self._servers) - set(answers) - {HEALTHZ_PORT, METRICS_PORT}:
            await self._close(port)
        for port in set(answers) - set(self._servers):
            await self._open_for_service(port)

    async def close(self) -> None:
        """Close all servers."""
        for port in tuple(self._servers):
            await self._close(port)

    async def _open_for_service(self, port: int) -> None:
        async def serve(_: Request) -> Response:
            return _response(self._answers[port])

        await self._open(port, None, serve)

    async def _open(self, port: int, host: str | None, answer: HttpHandler) -> None:
        connections = Connections()
        service = HttpService(answer, connections, begin=_uncounted, finish=_uncounted)
        try:
            server = await asyncio.get_running_loop().create_server(lambda: HttpConnection(service), host, port)
        except OSError as error:  # something else on this node has the port: say it; the other ports are served
            log.warning("port=%d served=no error=%r", port, str(error))
            return
        self._servers[port] = server, connections

    async def _close(self, port: int) -> None:
        server, connections = self._servers.pop(port)
        server.close()
        await connections.close(patience=0)

    async def _serve_health(self, request: Request) -> Response:
        return _response(self._own(request.path == "/livez")) if request.path in {"/healthz", "/livez"} else NOT_FOUND

    async def _serve_metrics(self, request: Request) -> Response:
        return text(self._mode) if request.path == "/proxyMode" else NOT_FOUND


def _response(answer: Answer) -> Response:
    return Response(status=answer.code, body=answer.body.encode(), content_type=answer.content_type, headers=answer.headers)


def _uncounted() -> None:
    """Take no notice: an answer takes no time, and nobody waits until all have had theirs."""
