"""What a request may cost: oversized numbers, depths, bodies and patches get 4xx, never 500."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest

from netlab.api.resources import CONFIG_MAPS, PODS
from netlab.controlplane import requests
from netlab.controlplane.api import Api, Target
from netlab.controlplane.auth import ADMIN
from netlab.controlplane.bounds import LARGEST_BODY, MOST_OPERATIONS, own_copy, read_json, whole_number
from netlab.controlplane.duplicates import MOST, duplicate_fields
from netlab.controlplane.lists import ListOptions
from netlab.controlplane.local import LocalClient
from netlab.controlplane.patches import JSON_PATCH, apply_patch
from netlab.controlplane.selectors import label_predicate
from netlab.controlplane.server import warning_headers
from netlab.controlplane.watch import parse_version
from netlab.errors import ApiError

NINES = "9" * 5000
DEEP = b"[" * 973 + b"]" * 973


def code_of(call: Any, *args: Any) -> int:
    """Return the code of the ApiError that a call raises, 200 when it raises none."""
    try:
        call(*args)
    except ApiError as error:
        return error.code
    return 200


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"7", 0),
        (b'{"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}', 0),
        (b'{"a": 1, "a": 1, "a": 1}', 1),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b', "a": 1}', 1),
        (b'{"a": [' + NINES.encode() + b'], "a": 1}', 1),
        (b"{" + b",".join(b'"%d": 1, "%d": 1' % (n, n) for n in range(1000)) + b"}", MOST),
        (b'{"' + b"k" * 1_000_000 + b'": [' + b'{"a": 1, "a": 1},' * 50_000 + b"1]}", MOST),
    ],
)
def test_duplicates_are_bounded(content: bytes, found: int) -> None:
    """However a body repeats its fields, few are named, in short words and linear time (kubectl finding 5.8)."""
    begun = time.process_time()
    paths = duplicate_fields(content)

    assert found == len(paths)
    assert max(map(len, paths), default=0) < 200
    assert time.process_time() - begun < 2


def test_a_dropped_value_too_deep_for_the_decoder() -> None:
    """A value that the first decoder dropped is refused when the second cannot read it."""
    assert 400 == code_of(duplicate_fields, b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b', "a": 1}')


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{}", 200),
        (b"[" * 100 + b"]" * 100, 200),
        (b"[" * 101 + b"]" * 101, 400),
        (DEEP, 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 500 + b"1" + b"}" * 500, 400),
        (b"9223372036854775807", 200),
        (b"9223372036854775808", 400),
        (b"1" + b"0" * 4000, 400),
        (NINES.encode(), 400),
        (b"1e400", 400),
        (b'"\\ud800"', 400),
        (b'"\xff"', 400),
        (b'"' + b"a" * LARGEST_BODY + b'"', 413),
    ],
)
def test_bodies(content: bytes, code: int) -> None:
    """Depth, numbers and size of a body have Kubernetes' limits (finding B2, M3)."""
    assert code == code_of(read_json, content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7), ("-7", -7), (str(2**63 - 1), 2**63 - 1), (str(2**63), None), (NINES, None), ("", None), ("-", None),
     ("٣", None), ("1e3", None), ("+1", None)],
)  # fmt: skip
def test_whole_numbers(text: str, expected: int | None) -> None:
    """A number of a query has 64 bits and ASCII digits."""
    assert expected == whole_number(text)


@pytest.mark.parametrize("text", [NINES, str(10**30), "x", "-", "٣"])
@pytest.mark.parametrize(
    "read",
    [
        lambda text: requests.list_options({"limit": text}),
        lambda text: requests.watch_seconds({"timeoutSeconds": text}),
        lambda text: requests.delete_options({"gracePeriodSeconds": text}, None),
        parse_version,
        lambda text: label_predicate(f"a>{text}"),
    ],
    ids=["limit", "timeoutSeconds", "gracePeriodSeconds", "resourceVersion", "labelSelector"],
)
def test_numbers_in_queries(read: Any, text: str) -> None:
    """A number that has no 64 bits is a bad request, wherever it is (finding M3)."""
    assert 400 == code_of(read, text)


def test_a_watch_ends_within_a_day() -> None:
    """A timeout beyond what the event loop can count ends after a day."""
    assert 86_400 == requests.watch_seconds({"timeoutSeconds": str(10**12)})


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, 200),
        ({"preconditions": {"uid": "x"}}, 200),
        ({"preconditions": ["x"]}, 400),
        ({"preconditions": "x"}, 400),
        ({"preconditions": {"uid": {}}}, 400),
        ({"gracePeriodSeconds": 10**12}, 400),
        ({"gracePeriodSeconds": True}, 400),
        ({"gracePeriodSeconds": "1"}, 400),
        ({"propagationPolicy": ["Orphan"]}, 400),
        ({"dryRun": {"a": 1}}, 400),
        (["Orphan"], 400),
    ],
)
def test_delete_options(body: Any, code: int) -> None:
    """DeleteOptions of other types are a bad request (finding M3)."""
    assert code == code_of(requests.delete_options, {}, body)


DOUBLING = [{"op": "copy", "from": "/a", "path": "/a/-"} for _ in range(20)]
WRAP = [
    {"op": "add", "path": "/y", "value": {}},
    {"op": "move", "from": "/x", "path": "/y/x"},
    {"op": "move", "from": "/y", "path": "/x"},
]
FRONT = [{"op": "add", "path": "/a/0", "value": 1}] * 5000


@pytest.mark.parametrize(
    ("target", "patch", "codes"),
    [
        ({"a": [1]}, DOUBLING, {422}),
        ({"a": ["x" * 1000]}, [{"op": "copy", "from": "/a/0", "path": "/a/-"}] * 4000, {422}),
        ({"a": [1]}, [{"op": "test", "path": "/a", "value": [1]}] * MOST_OPERATIONS, {200}),
        ({"a": [1]}, [{"op": "test", "path": "/a", "value": [1]}] * (MOST_OPERATIONS + 1), {413}),
        ({"x": 1}, WRAP * 3000, {200}),  # too deep to be stored, which the next step finds
        ({"a": [1] * 1_000_000}, FRONT, {422}),
        ({"a": 1}, [{"op": ["add"], "path": "/a", "value": 1}], {400}),
        ({"a": 1}, [{"op": {"x": 1}, "path": "/a"}], {400}),
        ({"a": 1}, [{"op": None, "path": "/a"}], {400}),
        ({"a": [1]}, [{"op": "remove", "path": f"/a/{NINES}"}], {422}),
        ({"a": [1]}, [{"op": "add", "path": f"/a/{NINES}", "value": 1}], {422}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a", "path": "/a/b"}], {422}),
        ({"a": 1}, [{"op": "add", "path": 5, "value": 1}], {400}),
        ({"a": 1}, [{"op": "copy", "path": "/b"}], {400}),
    ],
)  # fmt: skip
def test_json_patches_have_a_budget(target: Any, patch: Any, codes: set[int]) -> None:
    """A small patch costs little: 20 copies made 481 MB of 1.8 kB (finding S2, CVE-2019-1002100)."""
    start = time.process_time()
    found = code_of(apply_patch, JSON_PATCH, target, patch)

    assert found in codes
    assert time.process_time() - start < 5  # it was 10 s with 20 operations, minutes with 24


def test_a_patch_leaves_no_object_that_is_too_deep() -> None:
    """What moves have nested is refused before it is stored."""
    assert 400 == code_of(own_copy, apply_patch(JSON_PATCH, {"x": 1}, WRAP * 300))


async def test_a_patch_leaves_no_object_that_is_too_large(client: LocalClient) -> None:
    """An object has the limit of a body, also when many patches made it."""
    await client.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
    codes = []
    for number in range(4):
        patch = {"spec": {"tolerations": [{"key": "x" * (900_000 * (number + 1))}]}}
        try:
            await client.patch(PODS, "p", patch)
            codes.append(200)
        except ApiError as error:
            codes.append(error.code)

    assert [200, 200, 200, 413] == codes


@pytest.mark.parametrize("token", ["W1tbW1tb", "W" * 5001, "eyJ2ZXJzaW9uIjo5OTk5OTk5OTk5OTk5OTk5OTk5OTl9"])
def test_continue_tokens(api: Api, token: str) -> None:
    """A continue token is decoded within the same bounds."""
    assert 400 == code_of(api.list, ADMIN, Target(CONFIG_MAPS), ListOptions(limit=1, continue_token=token))


def test_an_unexpected_exception_is_a_status(api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the server answers 500 as a Status, inside the daemon too, with one traceback."""

    def broken(*_: Any) -> None:
        raise RuntimeError("no such luck\nat all")

    monkeypatch.setattr(api.store, "get", broken)
    with caplog.at_level(logging.ERROR, "netlab.controlplane"), pytest.raises(ApiError) as caught:
        api.get(ADMIN, Target(CONFIG_MAPS, "default", "c"))

    assert (500, "InternalError") == (caught.value.code, caught.value.reason)
    assert "Internal error occurred: internal error: RuntimeError: no such luck at all" == caught.value.message
    assert 1 == len(caplog.records)
    assert caplog.records[0].exc_info


@pytest.mark.parametrize(
    ("warnings", "expected"),
    [
        (['unknown field "a"'], ['299 - "unknown field \\"a\\""']),
        (["a\r\nSet-Cookie: b"], ['299 - "a\\r\\nSet-Cookie: b"']),
        (["ü"], ['299 - "\\u00fc"']),
    ],
)
def test_warning_headers(warnings: list[str], expected: list[str]) -> None:
    """A key of a body cannot end the header that names it."""
    assert expected == list(warning_headers(warnings))


def test_warning_headers_are_bounded() -> None:
    """A thousand unknown fields make no header that a client refuses to read."""
    assert 4096 >= sum(map(len, warning_headers(json.dumps(number) * 300 for number in range(1000))))
