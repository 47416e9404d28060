"""How many connections a sampled check may make before it calls a missing backend or node a fault.

A Service port draws a backend for every connection, and the load balancer a node; the draws are independent. If each of m
wanted things is drawn with probability p or more, then n draws miss at least one of them with probability at most
m (1 - p)^n (union bound). The bound of a check is the least n for which that is below FALSE_ALARM, so a healthy lab fails a
sampled check with that probability at most; a connectivity test of a thousand sampled checks then raises a false alarm once in
ten million runs. A check ends as soon as everything has been seen: the bound costs time only where something is missing.

    1 backend through 16 nodes    n = 401         10 backends   n = 241         100 backends   n = 2750
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

FALSE_ALARM: Final = 1e-10  # the probability that one check of a healthy lab fails by chance


def draws(chances: Iterable[float]) -> int:
    """Return how many draws show all wanted things; `chances` are their probabilities, each above 0 and at most 1."""
    wanted = tuple(chances)
    rarest = min(wanted, default=1.0)
    if rarest >= 1.0:
        return 1
    return math.ceil(math.log(FALSE_ALARM / len(wanted)) / math.log1p(-rarest))
