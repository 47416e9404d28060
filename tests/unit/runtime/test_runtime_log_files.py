"""Logs that have a size (finding B4: a command that prints filled the machine's /run in three seconds)."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from netlab.process import log_files, logs
from netlab.process.log_files import Limits, RotatingFile, log_names, read_log

SMALL = Limits(size=100, files=3)


@pytest.mark.parametrize(
    ("pieces", "files", "text"),
    [
        ([b"a" * 60], {"": 60}, "a" * 60),
        ([b"a" * 60, b"b" * 40], {"": 100}, "a" * 60 + "b" * 40),
        ([b"a" * 60, b"b" * 41], {"": 41, ".1": 60}, "a" * 60 + "b" * 41),
        (
            [b"a" * 60, b"b" * 60, b"c" * 60],
            {"": 60, ".1": 60, ".2": 60},
            "a" * 60 + "b" * 60 + "c" * 60,
        ),
        (
            [b"a" * 60, b"b" * 60, b"c" * 60, b"d" * 60],
            {"": 60, ".1": 60, ".2": 60},
            "b" * 60 + "c" * 60 + "d" * 60,
        ),
        ([b"a" * 250, b"b"], {"": 1, ".1": 250}, "a" * 250 + "b"),
    ],
)
def test_log_rotates_before_it_exceeds_its_size(tmp_path, pieces, files, text):
    """The newest file has the log's name, older ones a number; the oldest is removed; readers see one text."""
    path = tmp_path / "main.log"
    log = RotatingFile(path, SMALL)
    for piece in pieces:
        log.append(piece)

    assert {name.name.removeprefix("main.log"): name.stat().st_size for name in tmp_path.iterdir()} == files
    assert read_log(path, SMALL) == text


def test_writer_continues_an_existing_log(tmp_path):
    """A process that starts again appends, and counts what is there."""
    path = tmp_path / "main.log"
    RotatingFile(path, SMALL).append(b"a" * 90)
    RotatingFile(path, SMALL).append(b"b" * 20)
    RotatingFile(path, SMALL).append(b"c" * 20)

    assert read_log(path, SMALL) == "a" * 90 + "b" * 20 + "c" * 20
    assert max(name.stat().st_size for name in tmp_path.iterdir()) <= SMALL.size


def test_reader_sees_each_file_once_while_the_log_rotates(tmp_path, monkeypatch):
    """A rotation between two opens repeats a file to the reader, who knows it by its inode."""
    path = tmp_path / "main.log"
    log = RotatingFile(path, SMALL)
    log.append(b"a" * 60)
    log.append(b"b" * 60)
    newest, older, oldest = log_names(path, SMALL.files)

    def rotated_after_the_first(_path, _files):
        yield newest
        older.replace(oldest)
        newest.replace(older)
        yield from (older, oldest)

    monkeypatch.setattr(log_files, "log_names", rotated_after_the_first)

    assert read_log(path, SMALL) == "a" * 60 + "b" * 60


def test_log_that_nobody_wrote_is_none(tmp_path):
    """A log without files is None, not an empty text."""
    assert read_log(tmp_path / "none.log") is None


def test_bytes_for_a_removed_folder_are_dropped(tmp_path):
    """A pod's folder goes with the pod; what still writes goes on."""
    folder = tmp_path / "pods" / "uid"
    folder.mkdir(parents=True)
    log = RotatingFile(folder / "main.log", SMALL)
    log.append(b"a" * 90)
    (folder / "main.log").unlink()
    folder.rmdir()

    log.append(b"b" * 20)

    assert log.lost == 20


def test_nearly_full_disk_takes_rotated_files_oldest_first(tmp_path, monkeypatch):
    """While the file system is nearly full a writer removes the rotated files of all containers, then empties its own."""
    old, new = tmp_path / "pods/one/main.log.1", tmp_path / "pods/two/main.log.1"
    for age, path in ((2, old), (1, new)):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
        os.utime(path, (1000 - age, 1000 - age))
    log = RotatingFile(tmp_path / "pods/two/side.log", Limits(1 << 20, 2))
    asked = []

    def full_until(removed):
        return lambda _folder: asked.append(1) or sum(not path.exists() for path in (old, new)) < removed

    monkeypatch.setattr(log_files, "is_nearly_full", full_until(1))
    log.append(b"a" * 10)
    first = old.exists(), new.exists(), log.path.stat().st_size
    monkeypatch.setattr(log_files, "is_nearly_full", full_until(3))
    log.append(b"b" * log_files.ASK_EVERY)

    assert first == (False, True, 10)
    assert (old.exists(), new.exists(), log.path.stat().st_size) == (
        False,
        False,
        log_files.ASK_EVERY,
    )


def test_process_begins_a_new_log_when_its_own_is_too_large(tmp_path):
    """A storm of tracebacks (56 MB were seen) leaves two files of 2 MiB, also of what goes to standard error directly."""
    path = tmp_path / "daemon.log"
    script = (
        "import logging, os, sys\n"
        "from netlab.process import logs\n"
        "logs.configure()\n"
        "log = logging.getLogger('netlab.daemon')\n"
        "for number in range(3000):\n"
        "    log.warning('number=%d text=%s', number, 'x' * 4000)\n"
        "print('the end', file=sys.stderr)\n"
    )
    with path.open("ab") as output:
        subprocess.run([sys.executable, "-c", script], stdout=output, stderr=output, check=True)

    sizes = [name.stat().st_size for name in tmp_path.iterdir()]
    text = read_log(path, log_files.PROCESS)
    assert (len(sizes), sum(sizes) <= log_files.PROCESS.total + 10_000) == (2, True)
    assert text.endswith("the end\n")
    assert "number=2999" in logs.tail(path)


def test_log_in_a_pipe_is_left_alone(capfd):
    """In a container standard error is the engine's: its size is not ours to keep."""
    logs.configure()
    try:
        logging.getLogger("netlab.test").warning("word=%s", "hello")
    finally:
        logging.basicConfig(force=True, handlers=[logging.NullHandler()])
    assert "word=hello" in capfd.readouterr().err
