"""`netlab up`: create a lab, or make a running one what the file says.

    read the files -> engine and images, if containers -> lock -> record -> daemon (start it, or find it)
    -> apply the objects -> wait until all is programmed

Nothing is created before the files are known to be right. When a lab that did not exist before does not come up,
everything is taken down again and the reason is told, unless the user asked to keep it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from netlab.api.lab import Lab
from netlab.api.resources import BY_PLURAL, LABS, RESOURCES, Json
from netlab.controlplane.pki import server_names
from netlab.controlplane.sync import SyncClient
from netlab.errors import ApiError, LabError, UsageError
from netlab.ipam import AddressPlan
from netlab.lab import containers
from netlab.lab.apply import Change, Identity, Verb, identity, plan
from netlab.lab.down import down, stop_daemons
from netlab.lab.files import read_topology
from netlab.lab.find import connect, daemon_alive, daemon_serves, locked
from netlab.lab.preflight import require_free_names, require_tools
from netlab.lab.privilege import obtain, require_state_root
from netlab.runtime import logs
from netlab.runtime.docker_network import with_node_subnet
from netlab.runtime.launch import Handed, start_daemon
from netlab.runtime.statedir import StateDirectory
from netlab.topology import Manifest, Topology, problems_of

RUNTIMES = ("netns", "docker")
LEAST_WAIT = 0.5  # seconds for one look at a lab, however long its daemon took to start
# Kinds whose objects `up` never prunes or reads as a whole: too many, and never in a file.
UNPRUNED = frozenset({"events", "leases", "labs", "nodes"})


@dataclass(frozen=True)
class Progress:
    """How far `up` is: steps done of a total, and what is being waited for, as sentences."""

    done: int
    total: int
    waiting: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What `up` did: the writes, in order, and what the user should know (a pod that is not ready, say)."""

    lab: str
    created: bool
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """How to bring a lab up. `timeout`: seconds for the whole of it."""

    name: str = ""
    runtime: str = ""
    timeout: float = 60
    dry_run: bool = False
    keep_on_failure: bool = False


def up(file: Path, options: Options, on_progress: Callable[[Progress], None], say: Callable[[str], None]) -> Result:
    """Bring the lab of a topology file up and return what was done; `say` hears of what takes long before it begins.

    Raises InvalidTopologyError (nothing was created), UsageError, or LabError when it did not come up in time.
    """
    if options.runtime and options.runtime not in RUNTIMES:
        raise UsageError(f"--runtime: there is no runtime {options.runtime!r}", remedy=f"There are {' and '.join(RUNTIMES)}.")
    topology = _with_name(read_topology(file, runtime=options.runtime), options.name)
    state = StateDirectory.of(topology.lab.metadata.name)
    if options.dry_run:
        return _dry_run(state, topology)
    require_tools()
    require_state_root(state.root.parent)
    images = containers.require_engine(topology.images, say) if topology.lab.spec.runtime == containers.DOCKER else {}
    with locked(state.lab, "up") as lock, socket.socket() as loopback:  # before `obtain`, so that it is the machine's
        obtain(state, "up")
        created = not state.root.exists()
        require_free_names(state, topology.lab)
        try:
            topology = replace(topology, lab=_recorded(state, topology, images, created=created))
            return _bring_up(state, topology, options, on_progress, created=created, handed=Handed(lock, loopback))
        except BaseException:  # also an interrupt: a half-made lab is never left without being asked for
            if created and not options.keep_on_failure:
                down(state)
            raise


def _with_name(topology: Topology, name: str) -> Topology:
    """Return the topology with the name given on the command line."""
    return replace(topology, lab=_renamed(topology.lab, name)) if name else topology


def _renamed(lab: Lab, name: str) -> Lab:
    """Return the lab under another name. Raises UsageError when no lab can have it: it becomes part of paths."""
    renamed = msgspec.structs.replace(lab, metadata=msgspec.structs.replace(lab.metadata, name=name))
    for problem in problems_of(LABS, LABS.encode(renamed)):
        if problem.path == "metadata.name":
            raise UsageError(f"--name: {problem.message}")
    return renamed


def _bring_up(
    state: StateDirectory,
    topology: Topology,
    options: Options,
    on_progress: Callable[[Progress], None],
    *,
    created: bool,
    handed: Handed,
) -> Result:
    deadline = time.monotonic() + options.timeout
    if not daemon_serves(state):
        stop_daemons(state)
        _make_certificates(state, topology.lab)
        start_daemon(state, options.timeout, handed)
    with _daemon_watched(state):
        client = connect(state)
        changes = _apply(client, topology)
        notes = _wait(client, max(deadline - time.monotonic(), LEAST_WAIT), options.timeout, on_progress)
    return Result(state.lab, created, changes, (*topology.notes, *notes))


def _recorded(state: StateDirectory, topology: Topology, images: Mapping[str, str], *, created: bool) -> Lab:
    """Put the lab on record, before anything of it is made, and return it with the networks that it keeps while it exists."""
    lab, spec = topology.lab, state.lab_file
    known = not created and spec.exists()
    if known:
        running = msgspec.json.decode(spec.read_bytes(), type=Lab)
        if lab.spec.runtime == containers.DOCKER and not topology.states_node_subnet:
            lab = with_node_subnet(lab, running.spec.networking.node_subnet)
        _refuse_new_networks(running, lab)
    state.create()
    spec.write_bytes(msgspec.json.encode(lab))
    if lab.spec.runtime == containers.DOCKER:
        state.images_file.write_bytes(msgspec.json.encode(images))
        if not known:
            lab = containers.place(state, lab, stated=topology.states_node_subnet)
            spec.write_bytes(msgspec.json.encode(lab))
    return lab


@contextmanager
def _daemon_watched(state: StateDirectory) -> Iterator[None]:
    """Tell a broken connection to a daemon that died in the words of its log."""
    try:
        yield
    except (ApiError, LabError) as error:
        if daemon_alive(state):
            raise
        raise LabError(f"the daemon of lab {state.lab!r} died", remedy=logs.tail(state.log("daemon"))) from error


def _make_certificates(state: StateDirectory, lab: Lab) -> None:
    """Make the lab's certificates, if they are not there: the daemon then need not carry the library that does."""
    from netlab.controlplane.certificates import ensure_pki

    addresses = AddressPlan.of(lab)
    ensure_pki(state.pki, server_names([addresses.api_server, addresses.kubernetes_service], lab.spec.networking.dns_domain))


def _refuse_new_networks(running: Lab, wanted: Lab) -> None:
    """A lab's networks are decided when it is created, as a cluster's are."""
    for field in ("runtime", "networking", "load_balancer"):  # the networks of another runtime may be others
        before, now = getattr(running.spec, field), getattr(wanted.spec, field)
        if before != now:
            raise UsageError(
                f"spec.{field} of the running lab {running.metadata.name!r} cannot change",
                remedy=f"Take it down first: netlab down {running.metadata.name}",
            )


def _dry_run(state: StateDirectory, topology: Topology) -> Result:
    """Return the changes `up` would make; of a lab that does not run, everything."""
    running = state.root.exists() and daemon_alive(state)
    live = _live(connect(state)) if running else {}
    return Result(state.lab, not running, plan(_manifests(topology), live, BY_PLURAL), topology.notes)


def _manifests(topology: Topology) -> tuple[Manifest, ...]:
    """Return the lab itself and its manifests: all are objects of the API server."""
    body = {**LABS.encode(topology.lab)}
    return (Manifest(resource=LABS, body=body, source="", line=1), *topology.manifests)


def _live(client: SyncClient) -> dict[Identity, Json]:
    """Return every object that a file may hold, by identity, `apiVersion` and `kind` as the server sends them."""
    listed: dict[Identity, Json] = {}
    for resource in RESOURCES:
        if resource.plural in UNPRUNED - {"labs"}:
            continue
        for body in client.list(resource).items:
            listed[identity(resource, body)] = body
    return listed


def _apply(client: SyncClient, topology: Topology) -> tuple[Change, ...]:
    changes = plan(_manifests(topology), _live(client), BY_PLURAL)
    for change in changes:
        _perform(client, change)
    return changes


def _perform(client: SyncClient, change: Change) -> None:
    match change.verb:
        case Verb.CREATE:
            client.create(change.resource, change.body, namespace=change.namespace)
        case Verb.PATCH:
            client.patch(change.resource, change.name, change.body, namespace=change.namespace)
        case Verb.DELETE:
            client.delete(change.resource, change.name, namespace=change.namespace)


def _wait(client: SyncClient, left: float, timeout: float, on_progress: Callable[[Progress], None]) -> tuple[str, ...]:
    """Follow the daemon's reports until everything is programmed. Raises LabError when the time that is left runs out."""
    last: Json = {}
    for report in _reports(client, left):
        last = report
        if report["converged"]:
            return tuple(report["notes"])
        on_progress(Progress(report["done"], report["total"], tuple(report["waiting"])))
    waiting = last.get("waiting", ["the daemon ended"])
    raise LabError(f"not everything came up within {timeout:g} s", remedy="\n".join(f"  waiting for {item}" for item in waiting))


def _reports(client: SyncClient, timeout: float) -> Iterator[Any]:
    for line in client.stream("GET", f"/netlab/converged?timeout={timeout:g}", timeout=timeout + 5):
        yield msgspec.json.decode(line)
