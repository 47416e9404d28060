"""`netlab up`: create a lab, or update a running lab to match its file.

    read the files -> lock -> start a daemon, unless one serves -> engine and images, if containers -> record
    -> send the daemon its order: which lab -> apply the objects -> wait until all is programmed

A daemon needs a third of a second to load. `up` runs the steps before the order in that time
(`netlab.process.launch`), and imports what they need then, not before. `up` creates nothing before
it has validated the files. If a new lab does not come up, `up` rolls back everything and reports
the reason, unless the user asked to keep it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from netlab.api.lab import RUNTIMES, Lab
from netlab.api.resources import LABS
from netlab.errors import UsageError
from netlab.lab.files import read_topology
from netlab.lab.find import daemon_alive, locked
from netlab.lab.preflight import require_tools, require_user
from netlab.lab.privilege import obtain, require_state_root
from netlab.lab.repair import can_be_reached, restore
from netlab.process.launch import Handed, loading_daemon
from netlab.state import StateDirectory
from netlab.topology import Topology, problems_of

if TYPE_CHECKING:
    from netlab.lab.apply import Change
    from netlab.lab.converge import Progress


@dataclass(frozen=True)
class Result:
    """What `up` did: the writes, in order, and notes, such as a pod that is not ready."""

    lab: str
    created: bool
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """How to bring a lab up. `timeout`: seconds for all of it."""

    name: str = ""
    runtime: str = ""
    timeout: float = 60
    dry_run: bool = False
    keep_on_failure: bool = False


def up(file: Path, options: Options, on_progress: Callable[[Progress], None], say: Callable[[str], None]) -> Result:
    """Bring the lab of a topology file up and return what was done; `say` announces long steps.

    Raises InvalidTopologyError (nothing was created), UsageError, or LabError after the timeout.
    """
    if options.runtime and options.runtime not in RUNTIMES:
        raise UsageError(f"--runtime: unknown runtime {options.runtime!r}", remedy=f"Runtimes: {', '.join(RUNTIMES)}.")
    topology = _with_name(read_topology(file, runtime=options.runtime), options.name)
    state = StateDirectory.of(topology.lab.metadata.name)
    if options.dry_run:
        return _dry_run(state, topology)
    require_user(topology.lab.spec.runtime)  # first: installing tools does not help an ordinary user
    require_tools()
    require_state_root(state.root.parent)
    with locked(state.lab, "up") as lock, socket.socket() as loopback:  # before `obtain`, so that it is the machine's
        obtain(state, "up")
        created = not state.root.exists()
        try:
            return _bring_up(state, topology, options, Handed(lock, loopback), created=created, on_progress=on_progress, say=say)
        except BaseException:  # also an interrupt: an incomplete lab stays only on request
            if created and state.root.exists() and not options.keep_on_failure:
                from netlab.lab.down import down

                say(f"Rolling back lab {state.lab}.")
                down(state)
            raise


def _dry_run(state: StateDirectory, topology: Topology) -> Result:
    from netlab.lab.converge import planned_changes

    running = state.root.exists() and daemon_alive(state)
    return Result(state.lab, not running, planned_changes(state, topology, running=running), topology.notes)


def _with_name(topology: Topology, name: str) -> Topology:
    """Return the topology with the name given on the command line."""
    return replace(topology, lab=_renamed(topology.lab, name)) if name else topology


def _renamed(lab: Lab, name: str) -> Lab:
    """Return the lab under another name.

    Raises UsageError for an invalid name: paths contain it.
    """
    renamed = msgspec.structs.replace(lab, metadata=msgspec.structs.replace(lab.metadata, name=name))
    for problem in problems_of(LABS, LABS.encode(renamed)):
        if problem.path == "metadata.name":
            raise UsageError(f"--name: {problem.message}")
    return renamed


def _bring_up(
    state: StateDirectory,
    topology: Topology,
    options: Options,
    handed: Handed,
    *,
    created: bool,
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Result:
    if not created:
        restore(state)
    with nullcontext() if can_be_reached(state) else loading_daemon(topology.lab.spec.runtime) as daemon:
        from netlab.lab.converge import converge
        from netlab.lab.down import stop_daemons
        from netlab.lab.preflight import require_free_names
        from netlab.lab.recording import make_certificates, record

        require_free_names(state, topology.lab)
        topology = record(state, topology, say)
        deadline = time.monotonic() + options.timeout  # the time for images, which may be minutes, does not count
        if daemon:
            make_certificates(state, topology.lab)
            stop_daemons(state)  # one whose start was interrupted
            daemon.begin(state, handed, options.timeout)
    changes, notes = converge(state, topology, deadline, options.timeout, on_progress, look=daemon is None)
    return Result(state.lab, created, changes, (*topology.notes, *notes))
