"""Which file is meant, and what is in it: the only place that reads files the user named."""

from __future__ import annotations

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
    """Return the one topology file of a folder. Raises UsageError when there is none, or more than one."""
    found = [folder / name for name in DEFAULT_NAMES if (folder / name).is_file()] + sorted(folder.glob(DEFAULT_PATTERN))
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no topology file here: none of {', '.join(DEFAULT_NAMES)}, {DEFAULT_PATTERN} in {folder}",
            remedy="Name one: netlab up FILE. To see one: netlab up topologies/quickstart.yaml in netlab's source.",
        )
    raise UsageError(f"several topology files here: {', '.join(path.name for path in found)}", remedy="Name one: netlab up FILE.")


def read_topology(file: Path, *, runtime: str = "") -> Topology:
    """Read a topology file and the manifests it points to, for another runtime than its own if one is given.

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
        content = sys.stdin.buffer.read(LARGEST_FILE + 1) if path == STANDARD_INPUT else _content(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise InvalidTopologyError((f"{path}:1:1: the file is larger than {LARGEST_FILE // 1024 // 1024} MiB",))
    return Source(str(path), content.decode("utf-8", "surrogateescape"))


def _content(path: Path) -> bytes:
    """Return what is in a file or a pipe, as far as it may be needed. A pipe that nobody writes to is not waited for."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            return stream.read(LARGEST_FILE + 1)
        start = _first_bytes(stream.fileno())
        if start == b"":
            raise UsageError(f"cannot read {path}: it is a pipe, and nobody writes to it")
        os.set_blocking(stream.fileno(), True)
        return (start or b"") + stream.read(LARGEST_FILE + 1)


def _first_bytes(descriptor: int) -> bytes | None:
    """Return what a pipe holds, b"" when it is at its end or has no writer, None when a writer has written nothing yet."""
    try:
        return os.read(descriptor, LARGEST_FILE + 1)
    except BlockingIOError:
        return None
