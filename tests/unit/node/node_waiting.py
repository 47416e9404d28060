"""How tests of servers wait."""

from __future__ import annotations

import asyncio


async def soon(condition) -> None:
    """Wait for something that no event tells: turns of the loop, in which sockets are read and written."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise TimeoutError
