"""A connection as a pair of streams, with its seat, for a server that is written as a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from netlab.serving.listener import Factory
from netlab.serving.roster import Seat

Accepted = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Seat], Coroutine[Any, Any, None] | None]


def streams(accepted: Accepted) -> Factory:
    """Return what makes the protocols of a listener: `accepted` is called for each connection, its coroutine is a task."""
    return lambda seat: _SeatedStreams(seat, accepted)


class _SeatedStreams(asyncio.StreamReaderProtocol):
    def __init__(self, seat: Seat, accepted: Accepted) -> None:
        super().__init__(asyncio.StreamReader(), lambda reader, writer: accepted(reader, writer, seat))
        self._seat = seat

    def connection_lost(self, exc: Exception | None) -> None:
        self._seat.leave()
        super().connection_lost(exc)
