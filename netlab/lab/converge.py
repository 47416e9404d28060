"""Update a running lab to match its file: write changed objects, wait until all is programmed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from netlab.api.resources import BY_PLURAL, LABS, RESOURCES, Json
from netlab.controlplane.sync import SyncClient
from netlab.errors import ApiError, LabError, is_already_exists
from netlab.lab.apply import Change, Identity, Verb, adoption, identity, plan
from netlab.lab.find import connect, daemon_alive
from netlab.process import logs
from netlab.state import StateDirectory
from netlab.topology import Manifest, Topology

TRY_AGAIN = "Run `netlab up FILE` again to resume; `netlab logs daemon` shows the cause."
LEAST_WAIT = 0.5  # seconds for one check of a lab, however long its daemon took to start
# Kinds whose objects `up` never prunes or reads as a whole: too many, and never in a file.
UNPRUNED = frozenset({"events", "leases", "labs", "nodes"})


@dataclass(frozen=True)
class Progress:
    """The progress of `up`: steps done, their total, and what `up` waits for, as sentences."""

    done: int
    total: int
    waiting: tuple[str, ...]


def converge(
    state: StateDirectory,
    topology: Topology,
    deadline: float,
    timeout: float,
    on_progress: Callable[[Progress], None],
    *,
    look: bool,
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Write what differs, and wait; return the writes, in order, and notes for the user.

    `deadline` is a time of `time.monotonic()`; `timeout` is the number of seconds that the LabError
    reports. With `look`, the daemon checks hosts and pods once more: events of a lab that has been
    running for long may be late.
    """
    with _daemon_watched(state):
        client = connect(state)
        changes = _apply(client, topology)
        notes = _wait(client, max(deadline - time.monotonic(), LEAST_WAIT), timeout, on_progress, look=look)
    return changes, notes


def planned_changes(state: StateDirectory, topology: Topology, *, running: bool) -> tuple[Change, ...]:
    """Return what `converge` would write; everything if the lab does not run."""
    return plan(_manifests(topology), _live(connect(state)) if running else {}, BY_PLURAL)


@contextmanager
def _daemon_watched(state: StateDirectory) -> Iterator[None]:
    """Report the end of the daemon's log if the daemon died during the `with` block."""
    try:
        yield
    except (ApiError, LabError) as error:
        if daemon_alive(state):
            raise
        raise LabError(f"the daemon of lab {state.lab!r} exited unexpectedly", remedy=logs.tail(state.log("daemon"))) from error


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
    return tuple(_perform(client, change) for change in changes)


def _perform(client: SyncClient, change: Change) -> Change:
    """Perform one write, and return what was done.

    An object to create may exist by then: a controller creates Endpoints for a Service, and a
    ReplicaSet for a Deployment of the same file. netlab adopts it, as `kubectl apply` does: it
    patches the object to match the file.
    """
    match change.verb:
        case Verb.CREATE:
            try:
                client.create(change.resource, change.body, namespace=change.namespace)
            except ApiError as error:
                if not is_already_exists(error):
                    raise
                change = adoption(change, client.get(change.resource, change.name, namespace=change.namespace))
                return _perform(client, change)
        case Verb.PATCH:
            client.patch(change.resource, change.name, change.body, namespace=change.namespace)
        case Verb.DELETE:
            client.delete(change.resource, change.name, namespace=change.namespace)
    return change


def _wait(
    client: SyncClient, left: float, timeout: float, on_progress: Callable[[Progress], None], *, look: bool
) -> tuple[str, ...]:
    """Follow the daemon's reports until everything is programmed.

    Raises LabError after `left` seconds.
    """
    last: Json = {}
    for report in follow(client, left, look=look):
        last = report
        if report["converged"]:
            return tuple(report["notes"])
        on_progress(Progress(report["done"], report["total"], tuple(report["waiting"])))
    said = [*(f"waiting for {item}" for item in last.get("waiting", ())), *last.get("notes", ())]
    waiting = "\n".join(f"  {words}" for words in said)
    if not last.get("expired"):  # the connection closed early
        raise LabError(
            "the daemon stopped reporting before the lab was ready", remedy="\n".join(filter(None, (waiting, TRY_AGAIN)))
        )
    raise LabError(f"the lab was not ready within {timeout:g} s", remedy=waiting)


def follow(client: SyncClient, timeout: float, *, look: bool) -> Iterator[Any]:
    """Yield the daemon's reports (`netlab.daemon.convergence.Report`) until all is in place or `timeout` seconds have passed."""
    for line in client.stream("GET", f"/netlab/converged?timeout={timeout:g}{'&look=yes' if look else ''}", timeout=timeout + 5):
        yield msgspec.json.decode(line)
