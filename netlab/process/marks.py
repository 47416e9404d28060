"""Find the processes of a lab without their records: by marks that the kernel shows in /proc.

A process of the lab itself has two marks: its title `netlab: <lab> <name>`, and its working
directory. The daemon's is the lab's record, and its children inherit it; if the folder is removed,
the kernel keeps its path, with the suffix ` (deleted)`. Neither mark is enough: any process may
have the title, and a shell of the user may have the folder.

A pod's command has the title and the folder of another program. Its marks are its standard output,
the pipe of its log (`log_keeper`), and that it leads a session, which its children do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netlab.process.identity import start_time
from netlab.process.log_keeper import PIPE_SUFFIX
from netlab.process.records import CONTAINER_PREFIX, DAEMON, SOCKETS_PREFIX, ProcessRecord, read_record, write_record
from netlab.state import StateDirectory

TITLE: Final = b"netlab: "
SPAWNER: Final = "spawner"  # it has no record: it ends with its daemon
DELETED: Final = " (deleted)"
PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Inhabitant:
    """A process of a lab. `lost`: its lab's record was removed while it ran."""

    record: ProcessRecord
    folder: Path
    is_daemon: bool
    lost: bool


def inhabitants(proc: Path = PROC) -> Iterator[Inhabitant]:
    """Yield the processes of all labs on this machine, with any root of records."""
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended at this moment
                if found := _look(entry):
                    yield found


def _look(entry: Path) -> Inhabitant | None:
    title = (entry / "cmdline").read_bytes().rstrip(b"\0")
    if not title.startswith(TITLE):
        return None
    folder = str((entry / "cwd").readlink())
    pid = int(entry.name)
    record = ProcessRecord(title.decode(errors="replace").removeprefix(TITLE.decode()), pid, start_time(pid) or 0)
    return Inhabitant(record, Path(folder.removesuffix(DELETED)), title.endswith(b" daemon"), folder.endswith(DELETED))


def running_daemon(state: StateDirectory, proc: Path = PROC) -> ProcessRecord | None:
    """Return the lab's running daemon, regardless of its record."""
    for found in inhabitants(proc):
        if found.is_daemon and found.folder == state.root.resolve() and not found.lost:
            return ProcessRecord(DAEMON, found.record.pid, found.record.start)
    return None


def restore_records(state: StateDirectory, proc: Path = PROC) -> tuple[str, ...]:
    """Record running processes of the lab whose records are damaged or missing.

    Return their names.
    """
    found = [*_own_processes(state, proc), *_commands(state, proc)]
    lost = [record for record in found if read_record(state, record.name) is None]
    for record in lost:
        write_record(state, record)
    return tuple(record.name for record in lost)


def running_process(state: StateDirectory, name: str, proc: Path = PROC) -> ProcessRecord | None:
    """Return the lab's own process of a name, even if its record is damaged or missing."""
    recorded = read_record(state, name)
    return recorded or next((found for found in _own_processes(state, proc) if found.name == name), None)


def _own_processes(state: StateDirectory, proc: Path) -> Iterator[ProcessRecord]:
    for found in inhabitants(proc):
        lab, _, name = found.record.name.partition(" ")
        has_record = name not in {DAEMON, SPAWNER} and not name.startswith(SOCKETS_PREFIX)
        if found.folder == state.root.resolve() and not found.lost and lab == state.lab and has_record:
            yield ProcessRecord(name, found.record.pid, found.record.start)


def _commands(state: StateDirectory, proc: Path) -> Iterator[ProcessRecord]:
    pods = state.root.resolve() / "pods"
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it has ended at this moment, or is another user's
            pid, output = int(entry.name), (entry / "fd/1").readlink()
            if output.suffix == PIPE_SUFFIX and output.parent.parent == pods and os.getsid(pid) == pid:
                yield ProcessRecord(f"{CONTAINER_PREFIX}{output.parent.name}-{output.stem}", pid, start_time(pid) or 0)
