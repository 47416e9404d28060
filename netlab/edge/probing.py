"""Asking a node: the two kinds of health check as packets, from the edge's own address."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from netlab.controlplane.connection import Connection, connect
from netlab.edge.frontends import Check, CheckKind

PROBE_SECONDS = 1.0  # for the whole question
HEALTH_PATH = "/healthz"
ONCE = (("Connection", "close"),)


async def probe(check: Check, seconds: float = PROBE_SECONDS) -> bool:
    """Tell whether the node answers as it should. No answer is an answer: False."""
    try:
        async with asyncio.timeout(seconds):
            return await QUESTIONS[check.kind](check, seconds)
    except OSError:
        return False


async def _connects(check: Check, seconds: float) -> bool:
    (await connect(check.address, check.port, seconds)).close()
    return True


async def _says_ok(check: Check, seconds: float) -> bool:
    connection = await Connection.open(check.address, check.port, seconds)
    try:
        return await connection.ask("GET", HEALTH_PATH, ONCE) == HTTPStatus.OK
    finally:
        connection.close()


QUESTIONS = {CheckKind.TCP: _connects, CheckKind.HTTP: _says_ok}
