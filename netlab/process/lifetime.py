"""End asyncio code on a signal: it cancels the main task, so everything is closed in order.

If a handler raised an exception instead, it would raise it at any place in the loop: asyncio would
log it as an error of a callback, or lose it, and destroy the other tasks while they wait.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from netlab.process.children import INTERRUPTS

T = TypeVar("T")


def run_until_terminated(work: Coroutine[Any, Any, None], log: logging.Logger, words: str) -> None:
    """Run the process's work to its end or to SIGTERM, and log `words` for the latter."""
    try:
        asyncio.run(_cancelled_by_signal(work))
    except asyncio.CancelledError:
        log.info(words)


async def _cancelled_by_signal(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run the work of a command to its end, and return its result.

    A signal to end cancels the work; after its end, the previous handler receives the signal.
    """
    handlers = {number: handler for number in INTERRUPTS if callable(handler := signal.getsignal(number))}
    received: list[int] = []

    async def cancelled_by_signal() -> T:
        task = asyncio.ensure_future(work)

        def end(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in handlers:
            asyncio.get_running_loop().add_signal_handler(number, end, number)
        return await task

    try:
        return asyncio.run(cancelled_by_signal())
    except asyncio.CancelledError:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for first in received:
            signal.raise_signal(first)
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
