"""Mutants of topologies through everything behind the front end: nothing raises, nothing hangs."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from operator import add

import pytest
from fuzz_grammar import bases, mutant
from fuzz_plane import Failure, Tally, try_case
from fuzzing import cases, generator

CASES = 2000  # 45 seconds of two processors
PROCESSES = 2
BATCH = 50
FAILURES_SHOWN = 5


def search(numbers: range) -> tuple[Tally, list[str]]:
    """Try some cases in a process of the pool."""
    tally, failures = Tally(), []
    for number in numbers:
        chance = generator(number)
        try:
            try_case(mutant(chance), chance, tally)
        except Failure as failure:
            failures.append(f"case {number}: {failure}")
    return tally, failures


@pytest.mark.fuzz
def test_no_mutant_breaks_anything():
    """Every mutant is refused in the right form, or everything that reads its objects can read them, also after writes."""
    batches = [range(first, min(first + BATCH, cases(CASES))) for first in range(0, cases(CASES), BATCH)]
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(search, batches))
    tally = reduce(add, (tally for tally, _ in results), Tally())
    failures = [failure for _, failed in results for failure in failed]
    print(tally)  # noqa: T201 -- the figures, with pytest -s

    assert not failures, f"{len(failures)} of {tally.tried}:\n" + "\n\n".join(failures[:FAILURES_SHOWN])
    assert tally.accepted > tally.tried / 5


@pytest.mark.parametrize("number", range(len(bases())))
def test_no_base_breaks_anything(number):
    """The files that mutants are made of, and the one with every field of every kind, are accepted and break nothing."""
    tally = Tally()
    try_case(bases()[number], generator(number), tally)

    assert (1, {}) == (tally.accepted, {what: n for what, n in tally.refused.items() if "done" not in what})
