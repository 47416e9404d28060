"""Containment: one object's exception stays with that object and is retried with a growing delay."""

from __future__ import annotations

import asyncio
import logging

import pytest

from netlab.containment import FIRST_DELAY, LONGEST_DELAY, Containment, describe
from netlab.errors import KernelError

log = logging.getLogger("netlab.test")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pods(clock: Clock) -> Containment:
    return Containment(log, "pod", clock)


def test_exception_of_one_object_leaves_the_others_alone(pods: Containment) -> None:
    """The exception of one object is recorded, and the others are worked on."""
    done = []
    for key in ("a", "b", "c"):
        with pods.contain(key):
            if key == "b":
                raise ValueError("no\nway")
            done.append(key)
    assert done == ["a", "c"]
    assert list(pods.failures) == ["b"]
    assert pods.failures["b"].message == "internal error: ValueError: no way"


def test_delay_doubles_up_to_a_limit_and_success_resets_it(pods: Containment, clock: Clock) -> None:
    """The delay doubles with each failure in a row, up to a limit; a success forgets it."""
    delays: list[float] = []
    for _ in range(12):
        with pods.contain("a"):
            raise KernelError("full")
        assert not pods.is_due("a")
        delays.append(pods.failures["a"].due - clock.now)
        assert pods.next_due == pods.failures["a"].due
        clock.now = pods.failures["a"].due
        assert pods.is_due("a")
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays[-1] == LONGEST_DELAY
    with pods.contain("a"):
        pass
    assert not pods.failures
    assert pods.next_due is None


def test_changed_object_is_tried_at_once(pods: Containment) -> None:
    """A failed object is tried at once when it has another version."""
    with pods.contain("a", "7"):
        raise ValueError
    assert not pods.is_due("a", "7")
    assert pods.is_due("a", "8")


def test_object_that_no_longer_exists_is_forgotten(pods: Containment) -> None:
    """A failure goes with its object."""
    for key in ("a", "b"):
        with pods.contain(key):
            raise ValueError
    pods.keep({"b"})
    assert list(pods.failures) == ["b"]


def test_the_same_failure_is_logged_once_and_with_its_traceback(pods: Containment, caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged when it is new or different, with the traceback of a foreign exception."""
    for text in ("x", "x", "y"):
        with pods.contain("a"):
            raise ValueError(text)
    assert len(caplog.records) == 2
    assert "pod=a state=failed" in caplog.text
    assert "Traceback" in caplog.text


def test_our_own_errors_are_logged_without_traceback(pods: Containment, caplog: pytest.LogCaptureFixture) -> None:
    """An error of ours is a sentence: its traceback helps nobody."""
    with pods.contain("a"):
        raise KernelError("the kernel refused")
    assert "the kernel refused" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
def test_cancellation_and_interrupts_pass(pods: Containment, error: type[BaseException]) -> None:
    """Cancellation and interrupts are no failures of an object."""
    with pytest.raises(error), pods.contain("a"):
        raise error
    assert not pods.failures


def test_long_messages_are_cut() -> None:
    """A message fits into a condition."""
    assert len(describe(ValueError("x" * 10_000))) < 400
