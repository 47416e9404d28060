"""The work of pods that waits for the engine: tasks, and calls in threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from netlab.containment import Contained
from netlab.errors import NetlabError

Result = TypeVar("Result")
CALLS = 32  # to the engine at the same time
log = logging.getLogger("netlab.node")


class PodTaskGroup:
    """The tasks of all pods, by uid; unlike in asyncio's group, a failure ends one task only."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(CALLS, thread_name_prefix="pods")
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    async def call(self, call: Callable[..., Result], *arguments: Any) -> Result:
        """Make a blocking call in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def start(self, uid: str, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start a task for a pod ("": for all)."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.setdefault(uid, set()).add(task)
        task.add_done_callback(lambda done: self._done(uid, done))

    def start_call(self, uid: str, name: str, call: Callable[..., None], *arguments: Any) -> None:
        """Start a call that need not succeed: its object is gone, or is inspected again."""
        self.start(uid, self.attempt(self.call(call, *arguments)), name)

    def tasks(self, uid: str) -> tuple[asyncio.Task[None], ...]:
        """Return the tasks of a pod."""
        return tuple(self._tasks.get(uid, ()))

    async def attempt(self, work: Coroutine[Any, Any, None]) -> None:
        """Await what need not succeed, and log its failure."""
        with Contained() as attempt:
            await work
        if attempt.error is not None:
            trace = None if isinstance(attempt.error, NetlabError) else attempt.error
            log.warning("work=failed error=%s", attempt.error, exc_info=trace)

    async def close(self) -> None:
        """Cancel everything."""
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
            task.result()  # the event loop logs an unexpected exception
