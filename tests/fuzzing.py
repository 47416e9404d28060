"""Long searches: how many cases a test tries, and from which seed.

A test that searches (random inputs, mutants, orders of events) has the marker `fuzz`, asks `cases(default)` how many cases to
try and takes its randomness from `generator(case)`. In `make test` it tries its default with the fixed seed, so every run does
the same; `make fuzz` runs the tests with the marker with many cases and a fresh seed. When such a test fails, the report
has a section with the variables that repeat the run.

    NETLAB_FUZZ_CASES   number of cases of every search (default: each test's own)
    NETLAB_FUZZ_SEED    seed of every search (default: 1)
"""

from __future__ import annotations

import os
import random
from typing import Final

CASES_VARIABLE: Final = "NETLAB_FUZZ_CASES"
SEED_VARIABLE: Final = "NETLAB_FUZZ_SEED"
DEFAULT_SEED: Final = 1


def cases(default: int) -> int:
    """Return the number of cases to try."""
    return int(os.environ.get(CASES_VARIABLE) or default)


def seed() -> int:
    """Return the seed of this run."""
    return int(os.environ.get(SEED_VARIABLE) or DEFAULT_SEED)


def generator(case: int | str) -> random.Random:
    """Return the randomness of one case: it depends on the seed and the case alone, so that a case can be repeated alone."""
    return random.Random(f"{seed()}/{case}")


def how_to_repeat() -> str:
    """Return the variables that repeat this run, for the report of a failure."""
    count = os.environ.get(CASES_VARIABLE)
    return " ".join(filter(None, (f"{SEED_VARIABLE}={seed()}", count and f"{CASES_VARIABLE}={count}")))
