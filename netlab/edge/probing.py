"""Asking a node: the two kinds of health check as packets, from the edge's own address."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from netlab.controlplane.connection import Connection, connect
from netlab.edge.frontends import Check, CheckKind

TIMEOUT = 1.0  # seconds for the whole question
HEALTH_PATH = "/healthz"
ONCE = (("Connection", "close"),)


async def probe(check: Check) -> bool:
    """Tell whether the node answers as it should. No answer is an answer: False."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await QUESTIONS[check.kind](check)
    except OSError:
        return False


async def _connects(check: Check) -> bool:
    (await connect(check.address, check.port, TIMEOUT)).close()
    return True


async def _says_ok(check: Check) -> bool:
    connection = await Connection.open(check.address, check.port, TIMEOUT)
    try:
        return await connection.ask("GET", HEALTH_PATH, ONCE) == HTTPStatus.OK
    finally:
        connection.close()


QUESTIONS = {CheckKind.TCP: _connects, CheckKind.HTTP: _says_ok}
