"""Which files are read, and which are refused in a sentence instead of being waited for."""

from __future__ import annotations

import io
import os
import threading

import pytest

from netlab.errors import InvalidTopologyError, UsageError
from netlab.lab.files import LARGEST_FILE, read_topology

LAB = """\
apiVersion: netlab/v1alpha1
kind: Lab
metadata: {name: demo}
spec:
  nodes: 2
"""


def make_folder(path):
    path.mkdir()


def make_loop(path):
    path.symlink_to(path)


def make_huge(path):
    with path.open("wb") as stream:
        stream.truncate(LARGEST_FILE + 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda _path: None, "No such file or directory", id="nothing"),
        pytest.param(make_folder, "Is a directory", id="folder"),
        pytest.param(make_loop, "Too many levels of symbolic links", id="symbolic links in a circle"),
        pytest.param(os.mkfifo, "it is a pipe, and no process has it open for writing", id="pipe without a writer"),
        pytest.param(make_huge, "larger than 16 MiB", id="huge"),
        pytest.param(lambda path: path.write_bytes(bytes(range(256))), "not a text file", id="binary"),
    ],
)
def test_unreadable(tmp_path, make, words):
    """What is no readable file is named in one sentence, at once."""
    path = tmp_path / "topology.yaml"
    make(path)

    with pytest.raises((UsageError, InvalidTopologyError), match=words):
        read_topology(path)


def test_standard_input(monkeypatch):
    """`-` is standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LAB.encode())))

    assert "demo" == read_topology_of("-").lab.metadata.name


def read_topology_of(name):
    from pathlib import Path

    return read_topology(Path(name))


@pytest.mark.parametrize("late", [False, True], ids=["written before", "written while we wait"])
def test_pipe_with_a_writer(late):
    """A shell's <(command) is a pipe; it is read to its end, however late the writer writes."""
    reading, writing = os.pipe()
    writer = threading.Timer(0.2 if late else 0, lambda: (os.write(writing, LAB.encode()), os.close(writing)))
    writer.start()
    if not late:
        writer.join()

    topology = read_topology_of(f"/dev/fd/{reading}")

    writer.join()
    os.close(reading)
    assert 2 == len(topology.lab.spec.nodes)


def test_missing_manifests_are_shown_where_they_are_named(tmp_path):
    """An entry of spec.manifests that is not there is a problem of its line."""
    path = tmp_path / "topology.yaml"
    path.write_text(LAB + "  manifests: [./nowhere]\n")

    with pytest.raises(InvalidTopologyError, match=r"topology.yaml:6:\d+: spec.manifests\[0\]: Not found"):
        read_topology(path)


def test_missing_manifest_hides_no_other_problem(tmp_path):
    """Two missing manifests, a bad one and a bad Lab are all reported at once."""
    (tmp_path / "bad.yaml").write_text("{apiVersion: v1, kind: Sevice, metadata: {name: a}}")
    path = tmp_path / "topology.yaml"
    path.write_text(LAB.replace("nodes: 2", "nodes: 5000") + "  manifests: [./nope1.yaml, ./bad.yaml, ./nope2.yaml]\n")

    with pytest.raises(InvalidTopologyError) as error:
        read_topology(path)

    words = ("nope1.yaml", "nope2.yaml", "5000", '"Sevice"')
    assert all(any(word in problem for problem in error.value.problems) for word in words), error.value.problems
    assert len(words) == len(error.value.problems)
