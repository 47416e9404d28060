"""Selectors, generated names, and who may own what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from controllers_objects import pod, replica_set, settle

from netlab.api.meta import LabelSelector
from netlab.api.selection import selects
from netlab.controlplane.controllers import replica_sets
from netlab.controlplane.controllers.naming import LONGEST_BASE, generated_name, safe_digest, unused_name
from netlab.controlplane.controllers.writes import Patch


def expression(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "app", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({"matchLabels": {"app": "blue"}}, {"app": "blue", "x": "y"}, True),
        ({"matchLabels": {"app": "blue"}}, {"app": "red"}, False),
        ({}, {"app": "blue"}, False),
        (expression("In", "blue", "red"), {"app": "red"}, True),
        (expression("In", "blue"), {}, False),
        (expression("NotIn", "blue"), {"app": "blue"}, False),
        (expression("NotIn", "blue"), {}, True),
        (expression("Exists"), {"app": ""}, True),
        (expression("Exists"), {}, False),
        (expression("DoesNotExist"), {}, True),
        (expression("Like", "b*"), {"app": "blue"}, False),  # unknown: owns nothing
    ],
)
def test_selects(selector: dict[str, Any], labels: dict[str, str], expected: bool) -> None:
    """A selector matches as in Kubernetes; an empty one owns nothing."""
    actual = selects(msgspec.convert(selector, LabelSelector), labels)

    assert expected == actual


def test_names_are_deterministic_and_short() -> None:
    """The same owner and ordinal give the same name, another ordinal another, at most 63 characters long."""
    first, second = unused_name("rs", ()), unused_name("rs", {unused_name("rs", ())})

    assert first == generated_name("rs", "0")
    assert second == generated_name("rs", "1")
    assert len(unused_name("x" * 100, ())) == LONGEST_BASE + 5
    assert safe_digest("a", "b") != safe_digest("ab")


def test_adoption_names_the_version_it_is_meant_for() -> None:
    """Two owners that adopt the same pod at once: the second meets a Conflict."""
    orphan = pod("a", labels={"app": "blue"})
    metadata = msgspec.structs.replace(orphan.metadata, resource_version="7")
    writes = settle(replica_sets.reconcile, [replica_set("rs", replicas=1), msgspec.structs.replace(orphan, metadata=metadata)])
    (adoption,) = [w for w in writes if isinstance(w, Patch)]

    assert adoption.patch["metadata"]["resourceVersion"] == "7"
