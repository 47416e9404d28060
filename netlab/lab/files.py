"""Find and read the user's files; no other module reads them."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from netlab.errors import InvalidTopologyError, UsageError
from netlab.topology import Source, Topology, load, manifest_paths, manifest_problem

DEFAULT_NAMES = ("topology.yaml", "topology.yml")
DEFAULT_PATTERN = "*.netlab.yaml"
MANIFEST_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
STANDARD_INPUT = Path("-")
LARGEST_FILE = 16 * 1024 * 1024  # bytes; a topology of a thousand Services has one or two million


def default_file(folder: Path) -> Path:
    """Return the only topology file of a folder. Raises UsageError for none or several."""
    found = [folder / name for name in DEFAULT_NAMES if (folder / name).is_file()] + sorted(folder.glob(DEFAULT_PATTERN))
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no topology file here: none of {', '.join(DEFAULT_NAMES)}, {DEFAULT_PATTERN} in {folder}",
            remedy="Name one: netlab up FILE. An example in netlab's source: topologies/quickstart.yaml",
        )
    raise UsageError(f"several topology files here: {', '.join(path.name for path in found)}", remedy="Name one: netlab up FILE.")


def read_topology(file: Path, *, runtime: str = "") -> Topology:
    """Read a topology file and its manifests; `runtime` replaces the runtime of the file.

    Raises InvalidTopologyError with every problem found.
    """
    source = _read(file)
    sources, missing = [source], list[str]()
    for entry in manifest_paths(source):
        try:
            sources += map(_read, _named_manifests(file, source, entry))
        except InvalidTopologyError as error:
            missing += error.problems
    try:
        topology = load(sources, runtime=runtime)
    except InvalidTopologyError as error:
        raise InvalidTopologyError((*missing, *error.problems)) from error
    if missing:
        raise InvalidTopologyError(tuple(missing))
    return topology


def _named_manifests(topology: Path, source: Source, entry: str) -> list[Path]:
    path = topology.parent / entry
    if path.is_dir():
        return sorted(child for child in path.iterdir() if child.suffix in MANIFEST_SUFFIXES and child.is_file())
    if not path.exists():
        raise manifest_problem(source, entry, f"there is no file or folder {path}")
    return [path]


def _read(path: Path) -> Source:
    try:
        content = _standard_input() if path == STANDARD_INPUT else _content(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise InvalidTopologyError((f"{path}:1:1: the file is larger than {LARGEST_FILE // 1024 // 1024} MiB",))
    return Source(str(path), content.decode("utf-8", "surrogateescape"))


def _standard_input() -> bytes:
    if sys.stdin is None:  # Python creates no stream for a closed descriptor
        raise UsageError(
            "cannot read standard input: it is closed", remedy="Name a file, or redirect one: netlab validate - < FILE"
        )
    return sys.stdin.buffer.read(LARGEST_FILE + 1)


def _content(path: Path) -> bytes:
    """Return the content of a file or a pipe up to the limit.

    Raises UsageError if it has no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
            return _of_device(descriptor, path)
        if stat.S_ISFIFO(mode):
            return _of_pipe(descriptor, path)
        try:
            return _to_the_end(descriptor)
        except BlockingIOError as error:  # some files of /proc wait for events, like kmsg
            raise UsageError(f"cannot read {path}: it has no end (reads wait for events)") from error
    finally:
        os.close(descriptor)


def _of_pipe(descriptor: int, path: Path) -> bytes:
    """Return what a process writes into a pipe, however late.

    Raises UsageError without a writer.
    """
    try:
        start = os.read(descriptor, LARGEST_FILE + 1)
    except BlockingIOError:  # a writer has written nothing yet
        start = None
    if start == b"":
        raise UsageError(f"cannot read {path}: it is a pipe, and no process has it open for writing")
    os.set_blocking(descriptor, True)
    return _to_the_end(descriptor, start or b"")


def _of_device(descriptor: int, path: Path) -> bytes:
    """Return the input of a terminal or the null device. Other devices have no text or no end."""
    if os.isatty(descriptor):
        os.set_blocking(descriptor, True)
        return _to_the_end(descriptor)  # typed by hand, as for `-`
    if os.path.samestat(os.fstat(descriptor), Path(os.devnull).stat()):
        return b""
    words = f"cannot read {path}: it is a device, not a file"
    raise UsageError(words, remedy="Name a file or a pipe, or - for standard input.")


def _to_the_end(descriptor: int, start: bytes = b"") -> bytes:
    """Return `start` and what follows, up to the end or to the size limit of a topology."""
    pieces, size = [start], len(start)
    while size <= LARGEST_FILE and (piece := os.read(descriptor, LARGEST_FILE + 1 - size)):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
