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
from netlab.probe.plan.plan import choices, plan
from netlab.probe.plan.snapshot import LISTED, Snapshot
from netlab.probe.report import record
from netlab.probe.run.observed import Observed
from netlab.probe.run.runner import Progress, ResolvConf, Row, Run, no_resolv_conf

Settle = Callable[[], None]


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
    run = Run(LinuxKernel(), progress, patience, resolv_conf or no_resolv_conf)
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
    """Run once more what a change concerns (`netlab.probe.judge.changes`); return the rows of the lab as it is now."""
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
