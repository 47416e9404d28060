"""Testing a lab's connectivity: snapshot, plan, run, look for changes, judge, record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from time import monotonic
from typing import Any, Protocol

from netlab.api.resources import Resource
from netlab.controlplane.client import ObjectList
from netlab.kernel.linux import LinuxKernel
from netlab.kernel.overflow import Overflows
from netlab.probe.judge.changes import NOTHING, Changes, compare, repeated
from netlab.probe.judge.hints import Hints
from netlab.probe.judge.verdict import Result, Verdict, judge
from netlab.probe.plan.checks import Check
from netlab.probe.plan.outcome import Outcome
from netlab.probe.plan.plan import plan
from netlab.probe.plan.snapshot import LISTED, Snapshot
from netlab.probe.report import record
from netlab.probe.run.observed import Observed
from netlab.probe.run.ports import PORTS
from netlab.probe.run.runner import Progress, ResolvConf, Row, Run, no_resolv_conf


class Lists(Protocol):
    """What the runner asks of the API server: lists. netlab.controlplane.client.SyncClient is one."""

    def list(self, resource: Resource[Any], /) -> ObjectList:
        """Return all objects of a kind."""


@dataclass(frozen=True)
class LabUnderTest:
    """What a test needs of a lab: its name and its objects.

    `resolv_conf` gives a pod's /etc/resolv.conf by its uid; `settle` waits until the lab has programmed a change that
    was made during the run.
    """

    name: str
    client: Lists
    resolv_conf: ResolvConf = no_resolv_conf
    settle: Callable[[], None] | None = None

    def snapshot(self) -> Snapshot:
        """List all objects that the plan is computed from."""
        return Snapshot.decode(self.name, {r.plural: self.client.list(r).items for r in LISTED})


async def run_connectivity(
    lab: LabUnderTest, progress: Progress, *, only: str | None = None, probe_seconds: float = 1.0, ports: range = PORTS
) -> dict[str, Any]:
    """Test a lab and return the record (`netlab.connectivity/v1`).

    `only` is a path class or a glob of check ids; a probe waits `probe_seconds` for its answer; datagrams
    leave from `ports`.
    """
    started = monotonic()
    run = Run(LinuxKernel(), progress, probe_seconds, lab.resolv_conf, ports)
    overflows = Overflows(run.kernel, "during the test")
    first = lab.snapshot()
    rows = await run.checks(first, _chosen(first, only))
    latest = lab.snapshot()
    changes = compare(first, latest)
    repetition = Repetition()
    if changes:
        if lab.settle:
            await asyncio.to_thread(lab.settle)
        rows, latest, repetition = await _repeat(run, rows, (lab, only), changes)
    machine = overflows.words()
    hints = Hints(latest, run.kernel, machine)
    judged = [repetition.judged(*row, hints) for row in rows]
    circumstances = record.Circumstances(
        only=only,
        seconds=monotonic() - started,
        missing=run.missing,
        lost=run.lost,
        repeated=len(repetition.repeated),
        dropped=repetition.dropped,
        machine=machine,
    )
    return record.make(latest, judged, circumstances)


def _chosen(snapshot: Snapshot, only: str | None) -> list[Check]:
    return [c for c in plan(snapshot) if only is None or c.path == only or fnmatchcase(c.id, only)]


@dataclass(frozen=True)
class Repetition:
    """The effect of a change during the run: repeated checks, dropped checks, and what changed again in the repetition."""

    repeated: frozenset[str] = frozenset()
    dropped: tuple[str, ...] = ()
    changes: Changes = NOTHING

    def judged(self, check: Check, observed: Observed, hints: Hints) -> tuple[Check, Observed, Verdict]:
        """Return the verdict of a check; hints are for faults, not for changes."""
        verdict = judge(check, observed)
        if verdict.result is Result.FAILED and self.changes.concern(check):
            reasons = ("objects of this check changed during the test and again during its repetition", *verdict.reasons)
            verdict = Verdict(Result.NOT_TESTED, Outcome.NOT_TESTED, reasons)
        elif verdict.result is Result.FAILED:
            verdict = replace(verdict, hints=hints.of(check, observed))
        return check, observed, verdict


async def _repeat(
    run: Run, rows: list[Row], where: tuple[LabUnderTest, str | None], changes: Changes
) -> tuple[list[Row], Snapshot, Repetition]:
    """Run once more what a change concerns (`netlab.probe.judge.changes`); return the rows of the lab as it is now."""
    lab, only = where
    second = lab.snapshot()  # after the lab has settled
    planned = _chosen(second, only)
    done = {check.id: (check, observed) for check, observed in rows}
    failed = frozenset(key for key, row in done.items() if judge(*row).result is not Result.PASSED)
    again = repeated(planned, {key: check for key, (check, _) in done.items()}, failed, changes)
    done.update({check.id: (check, observed) for check, observed in await run.checks(second, again)})
    latest = lab.snapshot()
    ids = {check.id for check in planned}
    dropped = tuple(check.id for check, _ in rows if check.id not in ids)
    repetition = Repetition(frozenset(check.id for check in again), dropped, compare(second, latest))
    return [done[check.id] for check in planned], latest, repetition
