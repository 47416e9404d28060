"""Containment: a failure of one object stays with that object, as client-go's HandleCrash and work queues keep it.

A loop that works on many objects (pods, Services, leases) runs the work for each in a `Containment`. An exception there is
logged with its traceback, the loop continues with the other objects, and tries the object again: at
once if it has changed, otherwise after a delay that doubles with each failure.

This is the only place in the project that catches every `Exception`. Use it around the work for ONE
object. An exception that concerns all objects (the kernel is out of memory, the API server does not
respond) is recorded for each of them; that is correct, but verbose. `BaseException` (cancellation,
^C) always passes.

Pure: the time comes in as `now`, in seconds of any clock that does not go back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from netlab.errors import NetlabError

FIRST_DELAY: Final = 0.5  # seconds; doubles with each failure in a row
LONGEST_DELAY: Final = 60.0


class Contained:
    """A `with` block whose exception ends the block and is kept in `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> bool:
        if isinstance(error, Exception):
            self.error = error
            return True
        return False


@dataclass(frozen=True)
class Failure:
    """The last failure of an object. `version` is that of the object then, `due` when it is tried again if it stays so."""

    error: Exception
    version: str
    count: int
    due: float

    @property
    def message(self) -> str:
        """What happened, in one line for an Event or a condition."""
        return describe(self.error)


def describe(error: Exception) -> str:
    """Return one line that names an exception: the message of ours, the type and message of any other."""
    if isinstance(error, NetlabError):
        return error.message
    text = " ".join(str(error).split())
    return f"internal error: {type(error).__name__}: {text[:300]}" if text else f"internal error: {type(error).__name__}"


class Containment:
    """The failures of the objects that one loop works on, by key. `kind` names the objects in the log."""

    def __init__(self, log: logging.Logger, kind: str, clock: Callable[[], float]) -> None:
        self._log = log
        self._kind = kind
        self._clock = clock
        self._failures: dict[str, Failure] = {}

    @property
    def failures(self) -> Mapping[str, Failure]:
        """The objects whose last attempt failed."""
        return self._failures

    @property
    def next_due(self) -> float | None:
        """When the next object is to be tried again; None when no object has failed."""
        return min((failure.due for failure in self._failures.values()), default=None)

    def is_due(self, key: str, version: str = "") -> bool:
        """Return whether to work on an object now: no failure, a change, or the delay is over."""
        failure = self._failures.get(key)
        return failure is None or failure.version != version or self._clock() >= failure.due

    @contextmanager
    def contain(self, key: str, version: str = "") -> Iterator[Contained]:
        """Run the work for one object; `error` of the value is set when it failed."""
        with Contained() as attempt:
            yield attempt
        if attempt.error is None:
            self._failures.pop(key, None)
        else:
            self.failed(key, attempt.error, version)

    def failed(self, key: str, error: Exception, version: str = "") -> Failure:
        """Record a failure that was contained elsewhere, and log it unless it is the same as the last one."""
        before = self._failures.get(key)
        count = before.count + 1 if before else 1
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (count - 1))
        failure = self._failures[key] = Failure(error, version, count, self._clock() + delay)
        if before is None or before.message != failure.message:
            trace = None if isinstance(error, NetlabError) else error
            self._log.warning("%s=%s state=failed error=%r", self._kind, key, failure.message, exc_info=trace)
        return failure

    def forget(self, key: str) -> None:
        """Forget an object: it has succeeded elsewhere, or is gone."""
        self._failures.pop(key, None)

    def keep(self, keys: Collection[str]) -> None:
        """Forget the objects that no longer exist; `keys` are those that do."""
        for key in [key for key in self._failures if key not in keys]:
            del self._failures[key]
