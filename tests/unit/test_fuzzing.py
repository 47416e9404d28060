"""The number of cases and the seed of the long searches."""

from __future__ import annotations

import fuzzing
import pytest


@pytest.mark.parametrize(
    ("variables", "cases", "seed", "repeat"),
    [
        ({}, 7, 1, "NETLAB_FUZZ_SEED=1"),
        ({"NETLAB_FUZZ_CASES": "", "NETLAB_FUZZ_SEED": ""}, 7, 1, "NETLAB_FUZZ_SEED=1"),
        ({"NETLAB_FUZZ_CASES": "90", "NETLAB_FUZZ_SEED": "5"}, 90, 5, "NETLAB_FUZZ_SEED=5 NETLAB_FUZZ_CASES=90"),
    ],
)
def test_environment(monkeypatch, variables, cases, seed, repeat):
    """The environment chooses cases and seed; without it a run is the same each time."""
    for name in ("NETLAB_FUZZ_CASES", "NETLAB_FUZZ_SEED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert (cases, seed, repeat) == (fuzzing.cases(7), fuzzing.seed(), fuzzing.how_to_repeat())
    assert fuzzing.generator(3).random() == fuzzing.generator(3).random()
    assert fuzzing.generator(3).random() != fuzzing.generator(4).random()
