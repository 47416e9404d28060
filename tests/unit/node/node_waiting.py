"""How tests of servers wait."""

from __future__ import annotations

import asyncio


async def soon(condition) -> None:
    """Wait for something that no event tells: turns of the loop, in which sockets are read and written."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- no event tells it
            await asyncio.sleep(0)
