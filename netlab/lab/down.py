"""`netlab down`: restore the host from the record alone, in whatever state the lab is.

    stop the daemon (it would restart the others) -> stop everything recorded -> remove the
    containers -> stop all other processes in the lab's namespaces -> remove the namespaces, the
    Docker network, the record -> check that nothing is left

The order matters for a crash in between: the record is removed last, so a second `down` finds what
the first one left. An engine completes requests even if the daemon that sent them was killed: a
container may appear a tenth of a second later. So containers are removed first and, with the
network, last.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from netlab.dataplane.names import NETNS_DIRECTORY, namespace_path
from netlab.errors import LabError
from netlab.kernel import mounts, namespaces
from netlab.kernel.door import Occupant
from netlab.lab.access.choice import access_of
from netlab.lab.access.interface import HostAccess
from netlab.lab.find import locked
from netlab.lab.marks import marked_namespaces
from netlab.lab.privilege import apart, obtain
from netlab.process.identity import start_time
from netlab.process.marks import inhabitants
from netlab.process.records import DAEMON, ProcessRecord, network_namespace, read_record, read_records, stop
from netlab.state import OWN_NETNS_DIRECTORY, StateDirectory


@dataclass(frozen=True)
class Removed:
    """What `down` removed, for the user."""

    lab: str
    processes: int
    namespaces: int
    containers: int = 0


def down_locked(state: StateDirectory) -> Removed:
    """Remove a lab under its lock; the verb `down` calls this."""
    return apart(lambda: _down_locked(state), Removed)


def _down_locked(state: StateDirectory) -> Removed:
    with locked(state.lab, "down"):
        obtain(state, "down")
        return down(state)


def down(state: StateDirectory, access: HostAccess | None = None) -> Removed:
    """Remove everything recorded of a lab; the caller holds its lock and the privilege.

    Raises LabError for a namespace that cannot be removed.
    """
    stopped = _stop_processes(state)
    _remove_logs(state)
    access = access or access_of(state)
    ended = access.remove_containers()
    paths = [namespace_path(name) for name in state.recorded_namespaces()]
    stopped += _stop_others(paths)
    namespaces.delete(paths)
    unrecorded = [path for path, lab in marked_namespaces(f"{state.lab}-") if lab == state.lab]
    namespaces.delete(unrecorded)
    paths += unrecorded
    left = [path for path in paths if namespaces.occupant(path) in {Occupant.NAMESPACE, Occupant.NAME}]
    if left:
        raise LabError(
            f"cannot remove these namespaces of lab {state.lab!r}: {', '.join(left)}",
            remedy="List the processes in one: ip netns pids NAME",
        )
    ended += access.remove_containers()
    access.remove_networks()
    mounts.unmount_below(state.root)
    shutil.rmtree(state.root, ignore_errors=False)
    remove_netns_directory(state.root.parent)
    return Removed(state.lab, stopped, len(paths), ended)


def _remove_logs(state: StateDirectory) -> None:
    """Free most of the lab's disk space, even if other parts cannot be removed."""
    for path in (*state.root.glob("logs/*"), *state.root.glob("pods/*/*.log*")):
        path.unlink(missing_ok=True)


def _stop_processes(state: StateDirectory) -> int:
    """Stop the daemon, all other recorded processes, and those without a record.

    Return the number.
    """
    daemons = stop_daemons(state)
    others = [record for record in read_records(state) if record.name != DAEMON]
    stop(others)
    unrecorded = [found.record for found in inhabitants() if found.folder == state.root and not found.lost]
    stop(unrecorded)
    return daemons + len(others) + len(unrecorded)


def stop_daemons(state: StateDirectory) -> int:
    """Stop the lab's daemon, and one without a record; return the number.

    The caller holds the lock.
    """
    recorded = read_record(state, DAEMON)
    found = [i.record for i in inhabitants() if i.is_daemon and i.folder == state.root and not i.lost]
    daemons = {record.pid: record for record in (*found, *([recorded] if recorded else []))}
    stop(daemons.values())
    return len(daemons)


def _stop_others(paths: list[str]) -> int:
    """Stop all other processes in the lab's namespaces, such as a shell or a pod's child."""
    inodes = {Path(path).stat().st_ino for path in paths if namespaces.occupant(path) is Occupant.NAMESPACE}
    records = [record for record in _processes() if record.pid != os.getpid() and network_namespace(record.pid) in inodes]
    stop(records)
    return len(records)


def _processes() -> list[ProcessRecord]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [ProcessRecord(f"pid {pid}", pid, start) for pid in pids if (start := start_time(pid)) is not None]


def remove_netns_directory(root: Path) -> None:
    """Remove /run/netns if netlab created it and the last lab is removed."""
    mark = root / OWN_NETNS_DIRECTORY
    if not mark.exists() or any(entry.is_dir() for entry in mark.parent.iterdir()):
        return
    with suppress(OSError):  # it contains a foreign namespace: it stays
        Path(NETNS_DIRECTORY).rmdir()
    mark.unlink(missing_ok=True)
