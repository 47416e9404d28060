"""Commands that begin at the same instant: two labs that both look for a free subnet, two `up`s of one lab."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from labdriver import COMMAND, ROOT, TIME_LIMIT, LabDriver, run

TOPOLOGY = Path(__file__).parent / "hosts.yaml"


@pytest.fixture(autouse=True, scope="module")
def _images(image_tags) -> None:
    """The images are there before labs begin."""


@pytest.fixture
def labs() -> Iterator[tuple[LabDriver, LabDriver]]:
    """Two labs that do not exist yet."""
    made = LabDriver(f"nto{secrets.token_hex(3)}"), LabDriver(f"nto{secrets.token_hex(3)}")
    yield made
    for lab in made:
        run("down", lab.name, check=None)


def up_at_once(labs: Sequence[LabDriver]) -> list[subprocess.CompletedProcess[str]]:
    """Begin `up` of all labs before the first has ended; return how each ended."""
    words = [[*COMMAND, "up", "--name", lab.name, str(TOPOLOGY)] for lab in labs]
    begun = [subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) for one in words]
    said = [up.communicate(timeout=TIME_LIMIT) for up in begun]
    return [subprocess.CompletedProcess(up.args, up.returncode, *words) for up, words in zip(begun, said, strict=True)]


def addresses(lab: LabDriver) -> set[str]:
    return {node["address"] for node in lab.status()["nodes"]}


def test_two_labs(labs: tuple[LabDriver, LabDriver]) -> None:
    """Each gets a subnet of its own, and every path of both works."""
    ended = up_at_once(labs)

    assert [up.returncode for up in ended] == [0, 0], [up.stderr for up in ended]
    assert addresses(labs[0]).isdisjoint(addresses(labs[1]))
    assert all(lab.test(check=0)["checks"] for lab in labs)


def test_one_lab_twice(labs: tuple[LabDriver, LabDriver]) -> None:
    """One makes the lab; the other says who is at it, or has nothing to do when it comes later. The lab is whole."""
    lab = labs[0]
    first, second = sorted(up_at_once([lab, lab]), key=lambda up: up.returncode)

    assert (first.returncode, second.returncode) in {(0, 0), (0, 1)}, (first.stderr, second.stderr)
    assert f"lab '{lab.name}' is being changed by netlab up" in second.stderr or second.returncode == 0
    assert lab.test(check=0)["checks"]
