"""`netlab gc`: remove leftovers of labs that are no longer running.

There are five kinds of leftovers: recorded labs whose daemon is dead; objects of the container
engine with the label of a lab without a record; processes whose lab's record was removed while they
ran; namespaces with netlab's ownership mark (the alias of a link) and without a record; and the
lock of a command that was killed before the record existed. The second, third and fourth kind exist
after a user emptied /run by hand. netlab never touches anything without a mark (`netlab.lab.marks`,
the label), nor anything of a lab whose record is elsewhere (K8SNETLAB_STATE).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from netlab.errors import LabBusyError
from netlab.kernel import namespaces
from netlab.lab.access import docker
from netlab.lab.down import down_locked, remove_netns_directory
from netlab.lab.find import daemon_alive, idle_locks, recorded_labs, remove_if_empty
from netlab.lab.marks import marked_namespaces, stop_inhabitants
from netlab.process.marks import Inhabitant, inhabitants
from netlab.state import StateDirectory, state_root


def collect(say: Callable[[str], None], *, dry_run: bool) -> tuple[str, ...]:
    """Remove all leftovers and return their names; with `dry_run` only list.

    `say` reports skipped labs.
    """
    removed = []
    for name in recorded_labs():
        state = StateDirectory.of(name)
        if daemon_alive(state):
            continue
        try:
            if not dry_run:
                down_locked(state)
        except LabBusyError as error:  # it starts or stops right now, so it is not a leftover
            say(f"Skipped: {error.message}.")
        else:
            removed.append(f"lab {name}")
    lost = _lost_processes()
    labs = docker.orphans(state_root(), recorded_labs())
    orphans = _orphaned_namespaces()
    if not dry_run:
        stop_inhabitants(lost)
        for lab in labs:
            docker.remove_orphan(lab)
        namespaces.delete(orphans)
        remove_netns_directory(state_root())
    locks = idle_locks(remove=not dry_run)
    if not dry_run:
        remove_if_empty(state_root())
    processes = (f"process {found.record.pid} ({found.record.name})" for found in lost)
    in_engine = (f"containers and network of lab {lab}" for lab in labs)
    return (
        *removed,
        *processes,
        *in_engine,
        *(f"namespace {Path(path).name}" for path in orphans),
        *(f"lock of lab {lab}" for lab in locks),
    )


def _lost_processes() -> list[Inhabitant]:
    """Return the processes of labs whose record below our root was removed."""
    root = state_root()
    return sorted((found for found in inhabitants() if found.lost and found.folder.parent == root), key=lambda f: f.record.pid)


def _orphaned_namespaces() -> list[str]:
    """Return the paths of namespaces whose marks name a lab without a record."""
    labs = set(recorded_labs())
    return [path for path, lab in marked_namespaces() if lab not in labs]
