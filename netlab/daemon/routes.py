"""The daemon's own path of the API server: `GET /netlab/converged?timeout=SECONDS` for `netlab up`.

With `look=yes` everything is checked again before it counts as converged. The answer is a stream of
JSON lines (`netlab.daemon.convergence.Report`), one whenever the report changes; the last has
`"converged": true`, or what is still missing after the timeout.
"""

from __future__ import annotations

import math

from aiohttp import web

from netlab.controlplane.auth import ADMIN, TokenTable
from netlab.controlplane.status import bad_request
from netlab.daemon.convergence import Convergence
from netlab.topology.problem import printable

LONGEST_WAIT = 3600.0  # seconds


def converged_route(convergence: Convergence, tokens: TokenTable) -> web.RouteDef:
    """Return the route; only the administrator may ask."""

    async def converged(request: web.Request) -> web.StreamResponse:
        if tokens.authenticate(request.headers.get("Authorization")) != ADMIN:
            raise web.HTTPForbidden
        seconds = _seconds(request.query.get("timeout", "60"))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        async for report in convergence.follow(seconds, look="look" in request.query):
            await response.write(report.encode())
        return response

    return web.get("/netlab/converged", converged)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise bad_request(f'timeout: Invalid value: "{printable(text)}": it must be a number of seconds')
    return min(seconds, LONGEST_WAIT)
