"""Text of objects that is taken for numbers (findings B2): bounded, ASCII, with a default for all else."""

from __future__ import annotations

import json

import pytest

from netlab.api.coordination import Lease
from netlab.api.meta import ObjectMeta
from netlab.api.numbers import LARGEST_64, digits_key, is_digits, whole_number
from netlab.api.resources import PODS
from netlab.api.times import seconds_of
from netlab.api.wellknown import LOAD_BALANCERS, SYNCED
from netlab.errors import UnreadableError

HUGE = "9" * 5000


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("12", 12), ("-3", -3), (str(LARGEST_64), LARGEST_64), (7, 7), ("007", 7),
        (str(LARGEST_64 + 1), 42), (HUGE, 42), (f"-{HUGE}", 42), ("", 42), ("-", 42), ("--1", 42), ("+1", 42), (" 1", 42),
        ("1_0", 42), ("1.0", 42), ("\u0663", 42), ("\u00b2", 42), (None, 42), (True, 42), (["1"], 42), ({}, 42), (10**30, 42),
    ],
)  # fmt: skip
def test_whole_number_takes_64_bits_of_ascii_digits(text, number):
    """Everything that is no number of 64 bits is the default."""
    assert whole_number(text, 42) == number


def test_whole_number_keeps_to_its_range():
    """A number outside the range that is asked for is the default."""
    assert [whole_number(text, -1, least=1, most=65535) for text in ("0", "1", "65535", "65536")] == [-1, 1, 65535, -1]
    assert [is_digits(text) for text in ("1", "", HUGE, "\u0663")] == [True, False, False, False]


def test_digits_key_orders_by_value():
    """Rows of digits sort by value, also those that int() refuses."""
    assert sorted([HUGE, "10", "9", "02"], key=digits_key) == ["02", "9", "10", HUGE]


@pytest.mark.parametrize(
    "text", [json.dumps({"services": HUGE}), "[" * 100_000, '{"services": 1}', "[]", '{"services": "\u0663"}', '"\\ud800"', ""]
)
def test_lease_annotations_of_nonsense_say_nothing(text):
    """A Lease whose annotations hold nonsense has programmed nothing and has found nobody healthy (findings B2, S2)."""
    lease = Lease(metadata=ObjectMeta(name="node1", annotations={SYNCED: text, LOAD_BALANCERS: text}))

    assert (lease.synced("services"), lease.healthy_nodes) == (0, {})


@pytest.mark.parametrize("moment", ["", "x", HUGE, "0001-01-01T00:00:00", "2026-13-01T00:00:00Z", -1, "\u0662\u0660\u0662\u0666"])
def test_seconds_of_nonsense_is_zero(moment):
    """A time that is none, or that no clock can show, is 0."""
    assert seconds_of(moment) == 0.0


def test_readable_leaves_out_what_does_not_decode():
    """A list is shown without the object that is none of its kind, and decoding that one names the field."""
    good, bad = {"metadata": {"name": "a"}}, {"metadata": {"name": "b"}, "spec": {"nodeName": {"a": 1}}}
    with pytest.raises(UnreadableError, match=r"Expected `str`, got `object` - at `\$\.spec\.nodeName`"):
        PODS.decode(bad)

    assert [pod.metadata.name for pod in PODS.readable([bad, good])] == ["a"]
