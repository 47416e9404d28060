"""What a pod's container may take of the machine with runtime docker (finding M9)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from netlab.api.pods import Container
from netlab.node.pods.limits import LEAST_MEMORY, MOST_MEMORY, memory_limit

MI = 2**20


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("64Mi", 64 * MI),
        ("64M", 64_000_000),
        ("0.5Gi", 512 * MI),
        (".5Gi", 512 * MI),
        ("1e8", 100_000_000),
        ("1E", 10**18),
        ("100000000000m", 100_000_000),
        (67108864, 64 * MI),
        ("1Ki", LEAST_MEMORY),
        ("9" * 30, MOST_MEMORY),
        ("9e999", MOST_MEMORY),
        ("0", 0),
        ("-1Mi", 0),
        ("64 Mi", 0),
        ("64mi", 0),
        ("", 0),
        ("9" * 5000, 0),
        (True, 0),
        ({"a": 1}, 0),
        (None, 0),
    ],
)
def test_memory_limit(stated, expected):
    """A quantity of Kubernetes in bytes, between what the engine takes and what fits; what is none limits nothing."""
    assert expected == memory_limit(Container(name="c", resources={"limits": {"memory": stated}}))
    assert expected == memory_limit(SimpleNamespace(resources=SimpleNamespace(limits={"memory": stated})))


@pytest.mark.parametrize("resources", [None, {}, 5, "x", {"limits": 5}, {"limits": None}, {"requests": {"memory": "64Mi"}}])
def test_no_memory_limit(resources):
    """Without a limit there is none, whatever else stands there."""
    assert 0 == memory_limit(Container(name="c", resources=resources))
