"""Work for pods that waits for the engine: a task for each, calls in threads, nobody else waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from netlab.containment import Contained
from netlab.errors import NetlabError

Answer = TypeVar("Answer")
WIDTH = 32  # calls to the engine at the same time
log = logging.getLogger("netlab.node")


class Work:
    """The tasks of all pods, by uid."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(WIDTH, thread_name_prefix="pods")
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    async def call(self, call: Callable[..., Answer], *arguments: Any) -> Answer:
        """Make a blocking call in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def begin(self, uid: str, work: Coroutine[Any, Any, None], name: str) -> None:
        """Have work done for a pod ("": for all)."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.setdefault(uid, set()).add(task)
        task.add_done_callback(lambda done: self._done(uid, done))

    def tasks(self, uid: str) -> tuple[asyncio.Task[None], ...]:
        """Return what is being done for a pod."""
        return tuple(self._tasks.get(uid, ()))

    async def attempt(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what need not succeed: what it was for has gone, or is looked at again."""
        with Contained() as attempt:
            await work
        if attempt.error is not None:
            trace = None if isinstance(attempt.error, NetlabError) else attempt.error
            log.warning("work=failed error=%s", attempt.error, exc_info=trace)

    async def end(self) -> None:
        """Give up everything."""
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.shutdown(wait=False)

    def _done(self, uid: str, task: asyncio.Task[None]) -> None:
        self._tasks[uid].discard(task)
        if not self._tasks[uid]:
            del self._tasks[uid]
        if not task.cancelled():
            task.result()  # what nobody expected is logged by the event loop
