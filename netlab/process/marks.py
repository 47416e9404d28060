"""The processes of a lab, found without their records: by marks that the kernel shows in /proc.

A process of the lab itself has two marks together: its title `netlab: <lab> <name>`, and the folder
it stands in. The daemon stands in the lab's record and what it starts inherits that; when the
folder is gone the kernel remembers the place, with the words ` (deleted)`. The title alone could be
anybody's, the folder alone is that of a shell somebody left there.

A pod's command has the title and the folder of its own program. It is known by its standard output,
the pipe of its log (`log_keeper`), and by being the leader of a session, which its children are not.
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
SPAWNER: Final = "spawner"  # has no record: it ends with its daemon
DELETED: Final = " (deleted)"
PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Inhabitant:
    """A process of a lab. `lost`: its lab's record was removed under it."""

    record: ProcessRecord
    folder: Path
    is_daemon: bool
    lost: bool


def inhabitants(proc: Path = PROC) -> Iterator[Inhabitant]:
    """Yield the processes of all labs on this machine, whatever root of records they belong to."""
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended while we looked
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
    """Return the lab's daemon that runs, whatever its record says."""
    for found in inhabitants(proc):
        if found.is_daemon and found.folder == state.root.resolve() and not found.lost:
            return ProcessRecord(DAEMON, found.record.pid, found.record.start)
    return None


def restore_records(state: StateDirectory, proc: Path = PROC) -> tuple[str, ...]:
    """Record the lab's running processes whose records are damaged or gone; returns their names."""
    found = [*_own_processes(state, proc), *_commands(state, proc)]
    lost = [record for record in found if read_record(state, record.name) is None]
    for record in lost:
        write_record(state, record)
    return tuple(record.name for record in lost)


def running_process(state: StateDirectory, name: str, proc: Path = PROC) -> ProcessRecord | None:
    """Return the lab's own process of that name, also when its record is damaged or gone."""
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
        with suppress(OSError):  # it ended while we looked, or is another user's
            pid, output = int(entry.name), (entry / "fd/1").readlink()
            if output.suffix == PIPE_SUFFIX and output.parent.parent == pods and os.getsid(pid) == pid:
                yield ProcessRecord(f"{CONTAINER_PREFIX}{output.parent.name}-{output.stem}", pid, start_time(pid) or 0)
