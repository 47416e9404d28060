"""Names that controllers make: Kubernetes' shape and alphabet, but derived from what they name, not random.

The same topology gives the same names on every run (principle 6). The alphabet is Kubernetes' own
(`apimachinery/pkg/util/rand`): no vowels and no 0, 1, 3, so that no bad word appears.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from itertools import count

from netlab.api.numbers import digits_key

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
LONGEST_BASE = 58  # a generated name has at most 63 characters, like a label value


def safe_digest(*parts: str, length: int = SUFFIX_LENGTH) -> str:
    """Return `length` safe characters that depend on all parts and on nothing else."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:length])


def generated_name(owner: str, *parts: str) -> str:
    """Return `<owner>-<5 characters>`, the owner's name cut where Kubernetes' generateName cuts it."""
    return f"{owner}-"[:LONGEST_BASE] + safe_digest(owner, *parts)


def unused_name(owner: str, in_use: Collection[str]) -> str:
    """Return the first generated name of `owner` (ordinal 0, 1, ...) that is not in use."""
    return next(name for n in count() if (name := generated_name(owner, str(n))) not in in_use)


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that puts node2 before node10."""
    return [digits_key(part) if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
