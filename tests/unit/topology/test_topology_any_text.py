"""Any byte string as topology gives a clear error, never a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netlab.errors import InvalidTopologyError
from netlab.topology import Source, load, manifest_paths

QUICKSTART = (Path(__file__).parents[3] / "topologies" / "quickstart.yaml").read_text()
DOCUMENTS = list(yaml.safe_load_all(QUICKSTART))
LINE = re.compile(r"f\.yaml:[1-9]\d*:[1-9]\d*: \S.*")
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
PIECES = st.sampled_from(
    ["{", "}", "[", "]", ": ", "- ", "\n", "\t", "  ", "&a ", "*a", "<<: ", "!!str ", "|\n", "'", '"', "\0", "\udc80", "\ufeff",
     "---\n", "#", "%",
     "nodes", "null", "yes", "-1", "99999999999999999999", ".nan", "\x85", "\u2028", "? ", "spec", "port: "]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from(["name", "spec"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def check(text: str) -> None:
    source = Source("f.yaml", text)
    manifest_paths(source)
    try:
        load([source])
    except InvalidTopologyError as error:
        lines = str(error).splitlines()
        assert lines
        assert [line for line in lines if not LINE.fullmatch(line)] == []


@SETTINGS
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_arbitrary_text(text: str) -> None:
    """Arbitrary characters and bytes."""
    check(text)


@SETTINGS
@given(st.lists(PIECES, max_size=30).map("".join))
def test_text_of_yaml_pieces(text: str) -> None:
    """Text that is full of YAML's own signs."""
    check(text)


@SETTINGS
@given(st.integers(0, len(QUICKSTART)), st.integers(0, 30), PIECES | st.text(max_size=5))
def test_a_good_file_with_a_splinter(start: int, length: int, piece: str) -> None:
    """A piece of a good file replaced by something else."""
    check(QUICKSTART[:start] + piece + QUICKSTART[start + length :])


@SETTINGS
@given(st.data())
def test_a_good_file_with_a_strange_value(data: st.DataObject) -> None:
    """Any value of a good file replaced by any JSON."""
    documents = json.loads(json.dumps(DOCUMENTS))
    parent, key = documents, data.draw(st.integers(0, len(documents) - 1))
    while isinstance(parent[key], dict | list) and parent[key] and data.draw(st.integers(0, 4)):
        parent = parent[key]
        key = data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
    parent[key] = data.draw(JSON)
    check("\n---\n".join(json.dumps(document) for document in documents))
