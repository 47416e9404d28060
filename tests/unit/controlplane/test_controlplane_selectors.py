from __future__ import annotations

import pytest

from netlab.api.resources import PODS, SERVICES
from netlab.controlplane.selectors import field_predicate, label_predicate, selection
from netlab.errors import ApiError

LABELS = {"app": "blue", "tier": "web", "generation": "3", "app.kubernetes.io/name": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("  ", True),
        ("app", True),
        ("!app", False),
        ("canary", False),
        ("!canary", True),
        ("app=blue", True),
        ("app==blue", True),
        ("app = blue", True),
        ("app=green", False),
        ("app=", False),
        ("app!=green", True),
        ("app!=blue", False),
        ("missing!=blue", True),
        ("tier in (web, api)", True),
        ("tier in (db)", False),
        ("missing in (db)", False),
        ("tier notin (db)", True),
        ("tier notin (web,db)", False),
        ("missing notin (db)", True),
        ("generation>2", True),
        ("generation > 3", False),
        ("generation<4", True),
        ("app>1", False),
        ("app=blue,tier=web", True),
        ("app=blue,tier=db", False),
        ("app=blue,tier in (web,api),!canary", True),
        ("app.kubernetes.io/name=x", True),
    ],
)
def test_label_selectors(text: str, expected: bool) -> None:
    """A label selector selects as Kubernetes' does."""
    predicate = label_predicate(text)
    found = predicate is None or predicate({"metadata": {"labels": LABELS}})

    assert expected == found


@pytest.mark.parametrize("text", ["app in web", "=", "app=blue,", "a b", "app in (web", "x>y", "app=blue;tier=web"])
def test_malformed_label_selectors(text: str) -> None:
    """A selector that cannot be parsed is a bad request."""
    with pytest.raises(ApiError) as caught:
        label_predicate(text)

    assert (400, "BadRequest") == (caught.value.code, caught.value.reason)


POD = {
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {"nodeName": "node1", "hostNetwork": True},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metadata.name=p", True),
        ("metadata.name!=p", False),
        ("metadata.namespace=default,spec.nodeName=node1", True),
        ("spec.nodeName=node2", False),
        ("spec.nodeName=", False),
        ("spec.nodeName!=", True),
        ("status.phase!=Failed", True),
        ("spec.hostNetwork=true", True),
        ("status.podIP=", True),
    ],
)
def test_field_selectors(text: str, expected: bool) -> None:
    """A field selector compares fields as text."""
    predicate = field_predicate(PODS, text)

    assert predicate is not None
    assert expected == predicate(POD)


def test_unknown_field() -> None:
    """A field that a kind does not offer is refused by name."""
    with pytest.raises(ApiError, match=r"field label not supported: spec\.nodeName"):
        selection(SERVICES, "", "spec.nodeName=node1")
