"""How asyncio code is asked to end: a signal cancels its main task, so that everything is closed on the way out.

A handler that raises an exception instead would raise it wherever the loop happens to be: asyncio then logs it as the fault of
a callback, or loses it, and the other tasks are destroyed while they wait.
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
    """Run the process's work to its end or to SIGTERM, and log `words` for the latter. Other errors come through."""
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

    A signal to end cancels the work; once it has ended, the handler that was there before receives the signal.
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
