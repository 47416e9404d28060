"""How a process of the lab is asked to end: SIGTERM cancels its main task, so that everything is closed on the way out."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any


def run_until_terminated(work: Coroutine[Any, Any, None], log: logging.Logger, words: str) -> None:
    """Run the process's work to its end or to SIGTERM, and log `words` for the latter. Other errors come through."""
    try:
        asyncio.run(_cancelled_by_signal(work))
    except asyncio.CancelledError:
        log.info(words)


async def _cancelled_by_signal(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task
