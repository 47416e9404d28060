"""Running a lab's checks: snapshot, plan, capture, probe, look for changes, judge, record. All in one process and one thread.

Checks overlap (at most AT_ONCE busy at a time: more would measure the tester, not the lab). Those that end in a timeout
are started first, so that they wait while the others work, and waiting takes no slot. Each namespace is entered only for
the microseconds it takes to make a socket, and the event loop's thread is back in its own when anything else runs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from time import monotonic
from typing import Any, Protocol

from netlab.api.resources import Resource
from netlab.controlplane.client import ObjectList
from netlab.dataplane import names
from netlab.errors import KernelError
from netlab.kernel.door import Kernel
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.namespaces import OWN, inside
from netlab.kernel.overflow import Overflows
from netlab.probe import record
from netlab.probe.changes import NOTHING, Changes, compare, repeated
from netlab.probe.hints import Hints
from netlab.probe.plan.checks import Check, Kind, Reach
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.plan import choices, plan
from netlab.probe.plan.snapshot import LISTED, Snapshot
from netlab.probe.run.capture import Capture
from netlab.probe.run.neighbours import Meetings
from netlab.probe.run.observed import Observed
from netlab.probe.run.ports import source_ports
from netlab.probe.run.prober import Prober
from netlab.probe.run.servers import Servers
from netlab.probe.run.vantage import BrokenProbeError, Keys, Vantage
from netlab.probe.verdict import Result, Verdict, judge

AT_ONCE = 24
BUSY = 0.1  # seconds; a probe that takes longer only waits for its timeout and leaves its slot to others
MOST_POD_CAPTURES = 48  # beyond so many, the other pods' packets are seen at their nodes' ends of the veth pairs
WAITING = frozenset({Outcome.DROPPED, Outcome.UNREACHABLE, Outcome.REFUSED})

Progress = Callable[[int, int], None]
ResolvConf = Callable[[str], str]
Settle = Callable[[], None]
Row = tuple[Check, Observed]


class Lists(Protocol):
    """What the runner asks of the API server: lists. netlab.controlplane.client.SyncClient is one."""

    def list(self, resource: Resource[Any], /) -> ObjectList:
        """Return all objects of a kind."""


def take_snapshot(lab: str, client: Lists) -> Snapshot:
    """List all objects that the plan is computed from."""
    return Snapshot.decode(lab, {r.plural: client.list(r).items for r in LISTED})


async def run_connectivity(
    lab: str,
    client: Lists,
    progress: Progress,
    *,
    only: str | None = None,
    patience: float = 1.0,
    resolv_conf: ResolvConf | None = None,
    settle: Settle | None = None,
) -> dict[str, Any]:
    """Test a lab and return the record (`netlab.connectivity/v1`). `only` is a path class or a glob of check ids.

    `patience` is how many seconds a probe waits for its answer; `resolv_conf` gives a pod's /etc/resolv.conf by its uid;
    `settle` waits until the lab has programmed a change that was made during the run.
    """
    started = monotonic()
    run = Run(LinuxKernel(), progress, patience, resolv_conf or _no_resolv_conf)
    overflows = Overflows(run.kernel, "during the test")
    first = take_snapshot(lab, client)
    rows = await run.checks(first, _chosen(first, only))
    latest = take_snapshot(lab, client)
    changes = compare(first, latest)
    repetition = Repetition()
    if changes:
        if settle:
            await asyncio.to_thread(settle)
        rows, latest, repetition = await _repeat(run, rows, (lab, client, only), changes)
    machine = overflows.words()
    hints = Hints(latest, run.kernel, machine)
    return record.make(
        latest,
        [repetition.judged(*row, hints) for row in rows],
        choices=choices(latest),
        captures={"missing": run.missing, "lost": run.lost},
        changed=repetition.summary(),
        machine=machine,
        seconds=monotonic() - started,
        only=only,
    )


def _chosen(snapshot: Snapshot, only: str | None) -> list[Check]:
    return [c for c in plan(snapshot) if only is None or c.path == only or fnmatchcase(c.id, only)]


@dataclass(frozen=True)
class Repetition:
    """What became of a change during the run: checks that were run again, dropped ones, and what changed meanwhile again."""

    repeated: frozenset[str] = frozenset()
    dropped: tuple[str, ...] = ()
    changes: Changes = NOTHING

    def judged(self, check: Check, observed: Observed, hints: Hints) -> tuple[Check, Observed, Verdict]:
        """Return the verdict of a check; hints are for faults, not for changes."""
        verdict = judge(check, observed)
        if verdict.result is Result.FAILED and self.changes.concern(check):
            reasons = ("objects of this check changed during the test, and again during its repetition", *verdict.reasons)
            verdict = Verdict(Result.NOT_TESTED, Outcome.NOT_TESTED, reasons)
        elif verdict.result is Result.FAILED:
            verdict = replace(verdict, hints=hints.of(check, observed))
        return check, observed, verdict

    def summary(self) -> dict[str, Any]:
        """Return what the record says."""
        return {"repeated": len(self.repeated), "dropped": list(self.dropped)}


async def _repeat(
    run: Run, rows: list[Row], where: tuple[str, Lists, str | None], changes: Changes
) -> tuple[list[Row], Snapshot, Repetition]:
    """Run once more what a change concerns (`netlab.probe.changes`); return the rows of the lab as it is now."""
    lab, client, only = where
    second = take_snapshot(lab, client)  # after the lab has settled
    planned = _chosen(second, only)
    done = {check.id: (check, observed) for check, observed in rows}
    failed = frozenset(key for key, row in done.items() if judge(*row).result is not Result.PASSED)
    again = repeated(planned, {key: check for key, (check, _) in done.items()}, failed, changes)
    done.update({check.id: (check, observed) for check, observed in await run.checks(second, again)})
    latest = take_snapshot(lab, client)
    ids = {check.id for check in planned}
    dropped = tuple(check.id for check, _ in rows if check.id not in ids)
    repetition = Repetition(frozenset(check.id for check in again), dropped, compare(second, latest))
    return [done[check.id] for check in planned], latest, repetition


@dataclass
class Run:
    """What the phases of one test share. `missing` and `lost`: what captures did not see, by place."""

    kernel: Kernel
    progress: Progress
    patience: float
    resolv_conf: ResolvConf
    missing: dict[str, str] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)

    async def checks(self, snapshot: Snapshot, planned: Sequence[Check]) -> list[Row]:
        """Carry out checks; return what was observed, in their order."""
        if not planned:
            return []
        capture = Capture(inside, snapshot.lab.spec.networking.backend.port)
        prober = self._prober(snapshot, capture)
        try:
            fabric = names.namespace_path(names.host_namespace(snapshot.name, names.FABRIC))
            await capture.open(listening_places(snapshot, planned), quiet=(fabric, OWN))
            rows = await _run_all(prober, planned, self.progress)
        finally:
            await prober.servers.close()
            capture.close()
        self.missing |= capture.missing
        self.lost |= capture.lost
        blind = blindness(capture)
        return [(check, replace(observed, blind=blind) if blind else observed) for check, observed in rows]

    def _prober(self, snapshot: Snapshot, capture: Capture) -> Prober:
        seed = random.SystemRandom().getrandbits(32)
        ports = source_ports(_ports_of_flows(snapshot, self.kernel), seed)
        uids = {p.key: p.metadata.uid for p in snapshot.live_pods}
        return Prober(
            vantage=partial(Vantage, enter=inside, keys=Keys(seed), ports=ports, timeout=self.patience),
            capture=capture,
            servers=Servers(inside),
            dns_address=snapshot.dns_address,
            nodes={n.name: n.address for n in snapshot.node_places},
            pods={p.address: p.name.rpartition("/")[2] for p in snapshot.pod_places},
            resolv_conf=lambda pod: self.resolv_conf(uids[pod]),
            met=Meetings(snapshot, self.kernel).note,
        )


def _no_resolv_conf(uid: str) -> str:
    raise BrokenProbeError(f"nothing is known of the resolv.conf of the pod with uid {uid}")


def _ports_of_flows(snapshot: Snapshot, kernel: Kernel) -> set[int]:
    """Return the source ports of the datagrams that the hosts with rules remember; of one that cannot be asked, none."""
    hosts = [*(place.namespace for place in snapshot.node_places), names.host_namespace(snapshot.name, names.EDGE)]
    found: set[int] = set()
    for namespace in hosts:
        with suppress(KernelError):
            found |= kernel.tracked_ports(names.namespace_path(namespace), "udp")
    return found


def listening_places(snapshot: Snapshot, planned: Sequence[Check]) -> list[tuple[str, str]]:
    """Return where to capture: every host, and the pods that take part (a bounded number of them)."""
    hosts = [(p.name, p.namespace) for p in (*snapshot.node_places, *snapshot.client_places)]
    middle = [(name, names.host_namespace(snapshot.name, name)) for name in (names.EDGE, names.FABRIC)]
    backends = {a for s in snapshot.slices for e in s.endpoints for a in e.addresses}
    parts = {p.name: p.namespace for c in planned for p in _places(c) if p.kind is Kind.POD}
    pods = [(p.name, p.namespace) for p in snapshot.pod_places if p.name in parts or p.address in backends]
    return [*hosts, *middle, *pods[:MOST_POD_CAPTURES]]


def _places(check: Check) -> tuple[Any, ...]:
    return (check.source, check.action.target) if isinstance(check.action, Reach) else (check.source,)


async def _run_all(prober: Prober, planned: Sequence[Check], progress: Progress) -> list[tuple[Check, Observed]]:
    """Run checks side by side, those that wait longest first; return results in the plan's order."""
    slots, done = asyncio.Semaphore(AT_ONCE), 0

    async def run(check: Check) -> Observed:
        nonlocal done
        async with slots:
            probing = asyncio.ensure_future(prober.run(check))
            await asyncio.wait({probing}, timeout=BUSY)
        observed = await probing
        done += 1
        progress(done, len(planned))
        return observed

    first = sorted(range(len(planned)), key=lambda i: planned[i].expectation.outcome not in WAITING)
    tasks = {i: asyncio.ensure_future(run(planned[i])) for i in first}
    try:
        await asyncio.gather(*tasks.values())
    finally:
        for task in tasks.values():
            task.cancel()
    return [(check, tasks[i].result()) for i, check in enumerate(planned)]


def blindness(capture: Capture) -> str:
    """Say why a packet that was not seen may have been there all the same; empty when it would have been seen."""
    missing = [f"nothing could be captured in {place}" for place in sorted(capture.missing)]
    lost = [f"the capture in {place} lost {number} packets" for place, number in sorted(capture.lost.items())]
    return "; ".join((*missing, *lost))
