"""The HTTP servers of a node's service proxy: its own health, and how many local endpoints a Service has.

:10256 /healthz, /livez          is the proxy in sync (semantics 6.17)
127.0.0.1:10249 /proxyMode       which mode it runs in
:<healthCheckNodePort> any path  for load balancers, under externalTrafficPolicy Local (semantics 6.15, 6.16)
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from netlab.http.messages import HttpHandler, Request, Response, text
from netlab.http.server import Connections, HttpConnection, HttpService
from netlab.proxy.health import HEALTHZ_PORT, Answer
from netlab.serving.descriptors import room
from netlab.serving.listener import Listener
from netlab.serving.roster import Limits, Roster

METRICS_PORT = 10249
MOST_CONNECTIONS, MOST_PER_CLIENT = 256, 32  # of all these servers together
NOT_FOUND = Response(status=404)
log = logging.getLogger("netlab.node")


class HealthServers:
    """The servers of one node; `update` opens, changes and closes those of Services."""

    def __init__(
        self,
        own: Callable[[bool], Answer],
        mode: str,
        *,
        healthz_port: int = HEALTHZ_PORT,
        metrics_port: int = METRICS_PORT,
        most_per_client: int = MOST_PER_CLIENT,
    ) -> None:
        self._own = own  # the proxy's own health; True asks for /livez
        self._mode = mode
        self._healthz_port, self._metrics_port = healthz_port, metrics_port
        self._answers: Mapping[int, Answer] = {}
        self._servers: dict[int, tuple[list[Listener], Connections]] = {}
        total = room(MOST_CONNECTIONS)
        each = min(most_per_client, total)
        self._roster = Roster(Limits(total, each, each, stranger_seconds=math.inf, idle_seconds=math.inf))

    async def start(self) -> None:
        """Open the proxy's own two servers."""
        await self._open(self._healthz_port, None, self._serve_health)
        await self._open(self._metrics_port, "127.0.0.1", self._serve_metrics)

    async def update(self, answers: Mapping[int, Answer]) -> None:
        """Serve these answers by port, and no others."""
        self._answers = answers
        for port in set(self._servers) - set(answers) - {self._healthz_port, self._metrics_port}:
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
            bound = _bound(host, port)
        except OSError as error:  # something else on this node has the port: log it; the other ports are served
            log.warning("port=%d served=no error=%r", port, str(error))
            return
        self._servers[port] = (
            [Listener(f"health:{port}", one, lambda seat: HttpConnection(service, seat), self._roster) for one in bound],
            connections,
        )

    async def _close(self, port: int) -> None:
        listeners, connections = self._servers.pop(port)
        for listener in listeners:
            listener.close()
        await connections.close(seconds=0)

    async def _serve_health(self, request: Request) -> Response:
        return _response(self._own(request.path == "/livez")) if request.path in {"/healthz", "/livez"} else NOT_FOUND

    async def _serve_metrics(self, request: Request) -> Response:
        return text(self._mode) if request.path == "/proxyMode" else NOT_FOUND


def _bound(host: str | None, port: int) -> list[socket.socket]:
    """Return sockets bound to a port: of one address, or of all addresses of each family that there is."""
    if host is not None:
        return [socket.create_server((host, port))]
    bound = [socket.create_server(("0.0.0.0", port))]
    if Path("/proc/net/if_inet6").exists():
        try:
            bound.append(socket.create_server(("::", port), family=socket.AF_INET6))
        except OSError:
            bound[0].close()
            raise
    return bound


def _response(answer: Answer) -> Response:
    return Response(status=answer.code, body=answer.body.encode(), content_type=answer.content_type, headers=answer.headers)


def _uncounted() -> None:
    """Take no notice: an answer takes no time, and no caller waits for all answers."""
