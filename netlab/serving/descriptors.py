"""The limit of open files of a process: the soft limit is raised to the hard limit.

The default soft limit of most systems is 1,024, for programs that use select(2). None of netlab's servers does.
"""

from __future__ import annotations

import resource
from typing import Final

OWN_SHARE: Final = 4  # a quarter of the descriptors stays free for files, pipes and the process's own connections


def raise_limit() -> int:
    """Raise RLIMIT_NOFILE to its hard limit and return the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def room(wanted: int) -> int:
    """Return how many connections a process may hold: `wanted`, or fewer if its limit is lower."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft < 0 else max(1, min(wanted, soft - soft // OWN_SHARE))
