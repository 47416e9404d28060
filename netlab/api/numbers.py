"""Whole numbers in the text of objects: resourceVersions, annotations, exit codes, parts of names.

The writer of an object chooses that text. `int()` raises for more than 4,300 digits, takes the digits
of every script, and raises for a superscript two, which `isdigit()` accepts. So no text of an object
goes to `int()` directly. `whole_number` takes what Kubernetes' strconv.ParseInt takes of 64 bits: ASCII
digits, perhaps a minus sign. Everything else is the default. `digits_key` orders numbers of any length
without converting them.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 19  # digits of the largest number of 64 bits
SMALLEST_64, LARGEST_64 = -(2**63), 2**63 - 1


def whole_number(text: object, default: int = 0, *, least: int = SMALLEST_64, most: int = LARGEST_64) -> int:
    """Return a number or the number that a text is; the default for everything else, also for one out of range."""
    if isinstance(text, int) and not isinstance(text, bool):
        number = text
    elif isinstance(text, str) and is_digits(text.removeprefix("-")):
        number = int(text)
    else:
        return default
    return number if least <= number <= most else default


def is_digits(text: str) -> bool:
    """Return whether a text is a row of ASCII digits that is short enough to be a number of 64 bits."""
    return 0 < len(text) <= LONGEST and text.isascii() and text.isdigit()


def digits_key(digits: str) -> tuple[int, str]:
    """Return a sort key that orders rows of digits by their value, however long they are."""
    significant = digits.lstrip("0")
    return len(significant), significant
