"""Files that pods and commands on hosts write, too: any bytes, and no file at all (findings B2)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from netlab.api.lab import HostStatus, Lab
from netlab.api.meta import ObjectMeta
from netlab.daemon.hostfiles import host_files, write_host_files
from netlab.files import holds, read_plain, write_in_place
from netlab.process.enter import hostname_in, stored_environment
from netlab.process.podfiles import Environment, PodFiles
from netlab.state import StateDirectory

VICTIM = b"somebody else's"


def a_byte(path: Path, _victim: Path) -> None:
    path.write_bytes(b"127.0.0.1 caf\xe9\n")


def a_folder(path: Path, _victim: Path) -> None:
    (path / "in it").mkdir(parents=True)


def a_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def a_dangling_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("nowhere"))


def a_pipe(path: Path, _victim: Path) -> None:
    os.mkfifo(path)


def a_flood(path: Path, _victim: Path) -> None:
    path.write_bytes(b"x" * 5_000_000)


HAVOC = [a_byte, a_folder, a_link, a_dangling_link, a_pipe, a_flood]


@pytest.mark.parametrize("havoc", HAVOC)
def test_write_in_place_writes_whatever_is_there(havoc: Callable[[Path, Path], None], tmp_path: Path) -> None:
    """The file has its content again; what a link points to is not touched."""
    path, victim = tmp_path / "pod" / "hosts", tmp_path / "victim"
    path.parent.mkdir()
    victim.write_bytes(VICTIM)
    havoc(path, victim)
    write_in_place(path, "127.0.0.1 localhost\n")

    assert holds(path, b"127.0.0.1 localhost\n")
    assert victim.read_bytes() == VICTIM
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["pod", "victim"]


@pytest.mark.parametrize("havoc", [a_byte, a_flood])
def test_write_in_place_keeps_a_plain_file(havoc: Callable[[Path, Path], None], tmp_path: Path) -> None:
    """A plain file stays the same file, since containers may have it mounted."""
    path = tmp_path / "hosts"
    havoc(path, tmp_path)
    with path.open("rb") as mounted:
        write_in_place(path, "a\n")

        assert mounted.read() == b"a\n"


def test_read_plain_reads_no_more_than_asked_for(tmp_path: Path) -> None:
    """A file of any size costs what was asked for."""
    a_flood(tmp_path / "hosts", tmp_path)

    assert read_plain(tmp_path / "hosts", 10) == b"x" * 10
    assert read_plain(tmp_path / "nothing", 10) is None


@pytest.mark.parametrize("havoc", HAVOC)
@pytest.mark.parametrize("name", ["hosts", "hostname", "resolv.conf"])
def test_host_files_are_put_back(havoc: Callable[[Path, Path], None], name: str, tmp_path: Path) -> None:
    """A host's files are written again, whatever a command on it has put there."""
    state = StateDirectory("lab", tmp_path / "lab")
    lab, hosts = Lab(metadata=ObjectMeta(name="lab")), [HostStatus(name="node1", address="172.30.1.1", role="node")]
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    write_host_files(state, lab, hosts)
    (state.host("node1") / name).unlink()
    havoc(state.host("node1") / name, victim)
    write_host_files(state, lab, hosts)

    for host, files in host_files(lab, hosts).items():
        assert all(holds(state.host(host) / file, content.encode()) for file, content in files.items())
    assert victim.read_bytes() == VICTIM


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"web\n", b"web"), (b"caf\xe9\n", b"caf\xe9"), (b"a\nb\n", b"a"), (b"", b""), (b"\n", b""),
        (b"x" * 64, b"x" * 64), (b"x" * 65, b""), (b"a\0b", b""),
    ],
)  # fmt: skip
def test_a_hostname_file_of_anything_gives_a_name_or_none(content: bytes, name: bytes) -> None:
    """The kernel takes 64 bytes of anything but NUL."""
    assert hostname_in(content) == name


RECORDS = [b'{"declared": {"A": "b"}}', b"", b"\xff", b"[]", b'{"A": "\\udcff"}', b'{"A": 1}', b'{"A": "b"}', b"[" * 100_000]


@pytest.mark.parametrize("content", [*RECORDS, b'{"declared": []}'])
def test_a_stored_environment_that_makes_no_sense_is_empty(content: bytes, tmp_path: Path) -> None:
    """A damaged record of an environment, or one of an older release, is as none."""
    (tmp_path / "c.env").write_bytes(content)

    assert stored_environment(PodFiles(tmp_path), "c") == Environment({}, {"A": "b"} if b": {" in content else {})
    assert stored_environment(PodFiles(tmp_path), "none") == Environment()
