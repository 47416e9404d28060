from __future__ import annotations

from typing import Any

import pytest

from netlab.controlplane.patches import JSON_PATCH, MERGE_PATCH, apply_patch, merge
from netlab.errors import ApiError


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [  # the examples of RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge(target: Any, patch: Any, expected: Any) -> None:
    """A merge patch does what RFC 7386 says."""
    assert expected == merge(target, patch)


@pytest.mark.parametrize(
    ("target", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/1", "value": 9}], {"a": [1, 9]}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a/b": 1, "m~n": 2}, [{"op": "remove", "path": "/a~1b"}, {"op": "remove", "path": "/m~0n"}], {}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}, {"op": "replace", "path": "/a", "value": 2}], {"a": 2}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 2}], 422),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1.0}], {"a": 1}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": True}], 422),
        ({"a": {"b": [False]}}, [{"op": "test", "path": "/a", "value": {"b": [0]}}], 422),
        (
            {"a": {"b": [False, "x"]}},
            [{"op": "test", "path": "", "value": {"a": {"b": [False, "x"]}}}],
            {"a": {"b": [False, "x"]}},
        ),
        ({"a": [1]}, [{"op": "test", "path": "/a", "value": [1, 1]}], 422),
        ({"a": None}, [{"op": "test", "path": "/a", "value": False}], 422),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/01"}], 422),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/\u0660", "value": 0}], 422),
        ({"a": 1}, [{"op": "remove", "path": "/b"}], 422),
        ({"a": [1]}, [{"op": "add", "path": "/a/5", "value": 2}], 422),
        ({"a": 1}, [{"op": "replace", "path": "/a/b", "value": 2}], 422),
        ({"a": 1}, [{"op": "leap", "path": "/a"}], 400),
        ({"a": 1}, [{"op": "add", "path": "a", "value": 1}], 400),
        ({"a": 1}, [{"op": "add", "path": "/a"}], 400),
        ({"a": 1}, {"op": "add"}, 400),
        ({"a": 1}, [{"op": "replace", "path": "", "value": 5}], 400),
    ],
)
def test_json_patch(target: Any, operations: Any, expected: Any) -> None:
    """A JSON patch does what RFC 6902 says, or is refused."""
    try:
        found: Any = apply_patch(JSON_PATCH, target, operations)
    except ApiError as error:
        found = error.code

    assert expected == found


@pytest.mark.parametrize(
    ("media_type", "patch", "code"),
    [("application/strategic-merge-patch+json", {}, 415), ("application/apply-patch+yaml", {}, 415), (MERGE_PATCH, [1], 400)],
)
def test_refused_formats(media_type: str, patch: Any, code: int) -> None:
    """A format that is not read here is refused with the ones that are."""
    with pytest.raises(ApiError) as caught:
        apply_patch(media_type, {}, patch)

    assert code == caught.value.code
