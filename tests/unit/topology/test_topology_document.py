"""Reading YAML: what a text means, where it stands, and what no text can do."""

from __future__ import annotations

import pytest

from netlab.topology.document import MOST_ALIASED, Source, documents, resolve


def values(text: str) -> list:
    found, misreads = documents(Source("f", text))
    assert misreads == ()
    return [document.value for document in found]


def misreads(text: str) -> list[tuple[tuple[int, int], str]]:
    _, found = documents(Source("f", text))
    return [(misread.position, misread.message) for misread in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", 80), ("-5", -5), ("017", 15), ("0o17", 15), ("0x1f", 31), ("0b11", 3), ("1_000", 1000), ("0", 0),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("08", 8.0), ("1.2.3.4", "1.2.3.4"), ("10.0.0.0/8", "10.0.0.0/8"),
        ("yes", True), ("On", True), ("n", False), ("FALSE", False), ("yEs", "yEs"), ("~", None), ("", None), ("null", None),
        ("2026-01-01", "2026-01-01"), ("12:30", "12:30"), ("-", "-"), ("_1", "_1"), ("0x", "0x"), ("1__", 1), ("9" * 30, 1e30),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, expected: object) -> None:
    """A plain scalar means what Kubernetes' YAML reader takes it for."""
    value = resolve(text)

    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("# nothing\n---\n---\n# here\n", []),
        ("\ufeffa: 1", [{"a": 1}]),
        ("a: '1'\nb: \"x\\ty\"\n", [{"a": "1", "b": "x\ty"}]),
        ("a: |\n  one\n  two\n", [{"a": "one\ntwo\n"}]),
        ("a: 1\n---\nb: 2\n...\n", [{"a": 1}, {"b": 2}]),
        ("a: &x {b: 1}\nc: *x\n", [{"a": {"b": 1}, "c": {"b": 1}}]),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n", [{"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}]),
        (
            "a: &x {k: 1}\nb: &y {k: 2, m: 3}\nc: {<<: [*x, *y]}\n",
            [{"a": {"k": 1}, "b": {"k": 2, "m": 3}, "c": {"k": 1, "m": 3}}],
        ),
        ("8080: x\n", [{"8080": "x"}]),
        ("a: !!str 80\nb: !!int 5\n", [{"a": "80", "b": 5}]),
        ('{"apiVersion": "v1", "n": [1, true, null]}', [{"apiVersion": "v1", "n": [1, True, None]}]),
        ("- a\n- - b\n", [["a", ["b"]]]),
        ("a: 1\r\nb: 2\r\n", [{"a": 1, "b": 2}]),
    ],
)
def test_documents(text: str, expected: list) -> None:
    """Documents become plain values; empty ones are left out, anchors expanded, keys always text."""
    assert values(text) == expected


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("a: 1\na: 2\n", (2, 1), 'duplicate key "a", first written in line 1'),
        ("a: {b: 1, c: 2, b: 3}\n", (1, 17), 'duplicate key "b"'),
        ("a:\n\tb: 1\n", (2, 1), "YAML is indented with spaces"),
        ("a: [1, 2\n", (2, 1), "invalid YAML"),
        ("a: b: c\n", (1, 5), "invalid YAML"),
        ("a: 1\n\0", (2, 1), "the control character U+0000"),
        ("a: \udcff\n", (1, 4), "a byte that is not UTF-8"),
        ("a: \x1b[2J\n", (1, 4), "the control character U+001B"),
        ("\ufeffa: 1\nb: \ufeff", (2, 4), "the control character U+FEFF"),
        ("a: *nope\n", (1, 4), "the alias *nope has no anchor"),
        ("a: &x [*x]\n", (1, 8), "refers to something that contains it"),
        ("a: &x {<<: *x}\n", (1, 12), "refers to something that contains it"),
        ("a: !!python/object/apply:os.system [ls]\n", (1, 4), "is not used in Kubernetes manifests"),
        ("a: !Ref b\n", (1, 4), "is not used in Kubernetes manifests"),
        ("a: .inf\n", (1, 4), "JSON cannot represent the number"),
        ("a: " + "9" * 400 + "\n", (1, 4), "JSON cannot represent the number"),
        ("yes: 1\n", (1, 1), "a key must be text"),
        ("? [a]\n: 1\n", (1, 3), "a key must be text"),
        ("a: {<<: 5}\n", (1, 5), "<< merges a map"),
        ("[" * 5000, (1, 101), "nested deeper than 100 levels"),
        ("{a: " * 5000, (1, 401), "nested deeper than 100 levels"),
        ("- " * 5000, (1, 201), "nested deeper than 100 levels"),
        (LAUGHS, (1, 0), f"aliases repeat more than {MOST_ALIASED} values"),
        ("%YAML 9.9\n---\na: 1\n", (1, 1), "invalid YAML"),
        ("a: @b\n", (1, 4), "invalid YAML"),
        ("x" * (33 * 2**20), (1, 1), "larger than 32 MiB"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_misread_texts(text: str, position: tuple[int, int], words: str) -> None:
    """A fault of the YAML is found, with its place and in a sentence."""
    (found, message), *_ = misreads(text)

    assert words in message
    assert position[1] == 0 or found == position


def test_several_faults_of_one_text() -> None:
    """Reading goes on after a duplicate key and after a strange tag."""
    assert [position for position, _ in misreads("a: 1\na: 2\nb: !x 1\nb: 3\n")] == [(2, 1), (3, 4), (4, 1)]


@pytest.mark.parametrize(
    ("steps", "at_key", "expected"),
    [
        (("spec", "ports", 1, "port"), False, (6, 13)),
        (("spec", "ports", 1, "port"), True, (6, 7)),
        (("spec", "ports", 1, "name"), False, (6, 7)),
        (("spec", "selector", "app"), False, (3, 22)),
        (("spec", "empty"), False, (7, 3)),
        (("metadata", "name"), False, (1, 1)),
        (("merged", "app"), False, (3, 22)),
    ],
)
def test_positions(steps: tuple, *, at_key: bool, expected: tuple[int, int]) -> None:
    """A field is found where it is written; a missing one where the map around it begins."""
    text = "kind: x\nspec:\n  selector: &s {app: a}\n  ports:\n    - port: 1\n    - port: 2\n  empty:\nmerged: {<<: *s}\n"
    (document,), _ = documents(Source("f", text))

    assert document.position(steps, at_key=at_key) == expected
