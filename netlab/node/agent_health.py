"""The HTTP servers of a node's service proxy: its own health, and how many local endpoints a Service has.

:10256 /healthz, /livez          is the proxy in sync (semantics 6.17)
127.0.0.1:10249 /proxyMode       which mode it runs in
:<healthCheckNodePort> any path  for load balancers, under externalTrafficPolicy Local (semantics 6.15, 6.16)
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from netlab.proxy.health import HEALTHZ_PORT, Answer

METRICS_PORT = 10249
log = logging.getLogger("netlab.node")


class HealthServers:
    """The servers of one node; `update` opens, changes and closes those of Services."""

    def __init__(self, own: Callable[[bool], Answer], mode: str) -> None:
        self._own = own  # the proxy's own health; True asks for /livez
        self._mode = mode
        self._answers: Mapping[int, Answer] = {}
        self._sites: dict[int, web.ServerRunner] = {}

    async def start(self) -> None:
        """Open the proxy's own two servers."""
        await self._open(HEALTHZ_PORT, "", self._serve_health)
        await self._open(METRICS_PORT, "127.0.0.1", self._serve_metrics)

    async def update(self, answers: Mapping[int, Answer]) -> None:
        """Serve these answers by port, and no others."""
        self._answers = answers
        for port in set(self._sites) - set(answers) - {HEALTHZ_PORT, METRICS_PORT}:
            await self._sites.pop(port).cleanup()
        for port in set(answers) - set(self._sites):
            await self._open_for_service(port)

    async def close(self) -> None:
        """Close all servers."""
        for runner in self._sites.values():
            await runner.cleanup()
        self._sites.clear()

    async def _open_for_service(self, port: int) -> None:
        async def serve(_: web.BaseRequest) -> web.StreamResponse:
            return _response(self._answers[port])

        await self._open(port, "", serve)

    async def _open(self, port: int, host: str, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        runner = web.ServerRunner(web.Server(handler, access_log=None))
        await runner.setup()
        try:
            await web.TCPSite(runner, host or None, port, reuse_address=True).start()
        except OSError as error:  # something else on this node has the port: say it; the other ports are served
            log.warning("port=%d served=no error=%r", port, str(error))
            await runner.cleanup()
            return
        self._sites[port] = runner

    async def _serve_health(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path not in {"/healthz", "/livez"}:
            return web.Response(status=404)
        return _response(self._own(request.path == "/livez"))

    async def _serve_metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=self._mode) if request.path == "/proxyMode" else web.Response(status=404)


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.code, body=answer.body.encode(), headers=dict(answer.headers))
