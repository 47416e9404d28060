"""Asking a node: the two kinds of health check as packets, from the edge's own address."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus

import aiohttp

from netlab.edge.frontends import Check, CheckKind

TIMEOUT = 1.0  # seconds for the whole question
HEALTH_PATH = "/healthz"


class NodeProbe:
    """`await probe(check)` tells whether the node answered as it should. No answer is an answer: False."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, family=socket.AF_INET),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        )

    async def __call__(self, check: Check) -> bool:
        """Ask."""
        if check.kind is CheckKind.TCP:
            return await self._connects(check)
        return await self._says_ok(check)

    async def close(self) -> None:
        """Let go of the HTTP client."""
        await self._session.close()

    @staticmethod
    async def _connects(check: Check) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            try:
                async with asyncio.timeout(TIMEOUT):
                    await asyncio.get_running_loop().sock_connect(connection, (check.address, check.port))
            except (OSError, TimeoutError):
                return False
            return True

    async def _says_ok(self, check: Check) -> bool:
        url = f"http://{check.address}:{check.port}{HEALTH_PATH}"
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
