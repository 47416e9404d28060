"""A set of bounded size, for "has this been reported already?": the member asked for least recently is forgotten first (pure).

A loop that remembers what it has reported for as long as it runs grows with every object there ever was. With `Recent` it
may report something twice once thousands of other things have been reported since, which costs one more Event.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, TypeVar

MOST: Final = 2048
T = TypeVar("T", bound=Hashable)


class Recent(Generic[T]):
    """The members asked for most recently, `limit` at most."""

    def __init__(self, limit: int = MOST) -> None:
        self._limit = limit
        self._members: dict[T, None] = {}  # in the order of their last use

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: T) -> bool:
        """Return whether a member is held, which makes it the most recent one."""
        if member not in self._members:
            return False
        self.add(member)
        return True

    def add(self, member: T) -> None:
        """Hold a member, and forget the least recent one beyond the limit."""
        self._members.pop(member, None)
        self._members[member] = None
        if len(self._members) > self._limit:
            del self._members[next(iter(self._members))]
