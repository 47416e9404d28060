"""When to look at the kernel after it reported a change (pure).

The first change is looked at as soon as it is reported: what a user deleted by hand is restored at once (semantics 2.22). A
program that deletes it again and again must not keep the agent busy, so after each repair the next look waits: 1 s, then twice
as long with each repair, 30 s at most, as long as the next resync would take. After a minute without a repair all is forgotten.
A change by the agent itself is reported, too; the look that follows finds nothing, and counts for nothing.
"""

from __future__ import annotations

from typing import Final

SPACING_SECONDS: Final = 0.1  # seconds between two looks, whatever is reported
FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 30.0
FORGET_SECONDS: Final = 60.0
RESOLUTION: Final = 0.001  # a timer may go off a little early


class Damage:
    """Times of looks, in seconds of a clock that does not go back."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._looked = -FORGET_SECONDS
        self._repaired = -FORGET_SECONDS
        self._delay = 0.0

    def heard(self, now: float) -> float | None:
        """Take note of a change; return when to look, None if that was returned before."""
        if self._due is not None:
            return None
        delay = 0.0 if now - self._repaired >= FORGET_SECONDS else self._delay
        self._due = max(now, self._looked + SPACING_SECONDS, self._repaired + delay)
        return self._due

    def is_due(self, now: float) -> bool:
        """Return whether to look now."""
        return self._due is not None and now + RESOLUTION >= self._due

    def looked(self, now: float, *, repaired: bool) -> None:
        """Take note of a look, whatever it was made for, and whether there was damage."""
        self._due, self._looked = None, now
        if repaired:
            again = now - self._repaired < FORGET_SECONDS
            self._delay = min(LONGEST_DELAY, 2 * self._delay) if again else FIRST_DELAY
            self._repaired = now
