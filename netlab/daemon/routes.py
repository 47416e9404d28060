"""What the daemon answers besides Kubernetes' paths: `GET /netlab/converged?timeout=SECONDS` for `netlab up`.

With `look=yes` nothing counts that has not been looked at since. The answer is a stream of JSON lines
(`netlab.daemon.convergence.Report`), one whenever the report changes; the last has `"converged": true`, or says what is still
missing when the time is over.
"""

from __future__ import annotations

from aiohttp import web

from netlab.controlplane.auth import ADMIN, TokenTable
from netlab.daemon.convergence import Convergence

LONGEST = 3600.0  # seconds


def converged_route(convergence: Convergence, tokens: TokenTable) -> web.RouteDef:
    """Return the route; only the administrator may ask."""

    async def converged(request: web.Request) -> web.StreamResponse:
        if tokens.authenticate(request.headers.get("Authorization")) != ADMIN:
            raise web.HTTPForbidden
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        seconds = min(float(request.query.get("timeout", "60")), LONGEST)
        async for report in convergence.follow(seconds, look="look" in request.query):
            await response.write(report.encode())
        return response

    return web.get("/netlab/converged", converged)
