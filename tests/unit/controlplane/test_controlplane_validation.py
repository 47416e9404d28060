"""What the API server of one lab refuses on top of what is wrong in any file."""

from __future__ import annotations

import pytest

from netlab.api.resources import LABS, NAMESPACES, Json, Resource
from netlab.controlplane.validation import problems_in

SPEC = {"nodes": [{"name": "node1"}]}


@pytest.mark.parametrize(
    ("resource", "body", "words"),
    [
        (LABS, {"metadata": {"name": "demo"}, "spec": SPEC}, []),
        (LABS, {"metadata": {"name": "other"}, "spec": SPEC}, ['"other": this API server is the one of lab "demo" and knows no']),
        (NAMESPACES, {"metadata": {"name": "other"}}, []),
    ],
)
def test_there_is_one_lab(resource: Resource, body: Json, words: list[str]) -> None:
    """Writing another Lab's object would make nothing, and look as if it had."""
    found = problems_in("demo")(resource, {"apiVersion": resource.api_version, "kind": resource.kind, **body})

    assert len(words) == len(found)
    assert all(part in problem.message for part, problem in zip(words, found, strict=True))
