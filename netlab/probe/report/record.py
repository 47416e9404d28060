"""The record of a run: one JSON document, from which every rendering is made (docs/connectivity-tests.md).

Evidence: per path class, protocol, outcome and whether the source address was kept, the first check's packet; and every
failed check's up to a bound.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata

from netlab.api.resources import Json
from netlab.probe.judge.verdict import Result, Verdict
from netlab.probe.plan.checks import Ask, Check, LookUp, Visit
from netlab.probe.plan.plan import choices
from netlab.probe.plan.snapshot import Snapshot
from netlab.probe.report.evidence import evidence
from netlab.probe.run.observed import Observed
from netlab.proxy.remarks import remarks

SCHEMA = "netlab.connectivity/v1"
MOST_FAILURES_WITH_EVIDENCE = 20

Judged = tuple[Check, Observed, Verdict]


@dataclass(frozen=True)
class Circumstances:
    """What a record contains about the run as a whole.

    `only`: the path class or glob that limited it; `missing` and `lost`: places without a capture, and packets that
    captures lost, by place; `repeated` and `dropped`: checks that ran twice or ceased to exist because objects changed;
    `machine`: what is wrong with the machine, as sentences.
    """

    only: str | None = None
    seconds: float = 0.0
    missing: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    repeated: int = 0
    dropped: Sequence[str] = ()
    machine: Sequence[str] = ()


def make(snapshot: Snapshot, judged: Sequence[Judged], circumstances: Circumstances) -> Json:
    """Return the record."""
    proofs = collect_evidence(judged, snapshot.lab.spec.networking.backend.port)
    return {
        **_without_checks(snapshot.name, circumstances),
        "plan": [{"path": c.path, "chosen": c.chosen, "possible": c.possible} for c in choices(snapshot)],
        "skipped": skipped(snapshot),
        "remarks": list(remarks(snapshot.lab, snapshot.services, snapshot.slices)),
        "totals": {r.value: sum(v.result is r for _, _, v in judged) for r in Result},
        "checks": [one_check(*row, has_evidence=row[0].id in proofs) for row in judged],
        "evidence": proofs,
    }


def untestable(lab: str, error: str, only: str | None) -> Json:
    """Return the record of a test that could not begin: no check, and why. Every rendering shows it."""
    return {**_without_checks(lab, Circumstances(only)), "error": error}


def _without_checks(lab: str, circumstances: Circumstances) -> Json:
    """Return a record of no check, with all its keys in order."""
    return {
        "schema": SCHEMA,
        "lab": lab,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(circumstances.seconds, 3),
        "only": circumstances.only,
        "environment": environment(),
        "plan": [],
        "skipped": [],
        "remarks": [],
        "captures": {"missing": circumstances.missing, "lost": circumstances.lost},
        "changed": {"repeated": circumstances.repeated, "dropped": list(circumstances.dropped)},
        "machine": list(circumstances.machine),
        "totals": {r.value: 0 for r in Result},
        "checks": [],
        "evidence": {},
    }


def environment() -> Json:
    """Return what ran the test: kernel, Python, netlab, scapy."""
    found = {"kernel": os.uname().release, "python": platform.python_version()}
    for name in ("k8s-netlab", "scapy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a distribution"
    return found


def skipped(snapshot: Snapshot) -> list[str]:
    """Return the objects without a planned check, and why: nothing is left out silently."""
    live = {p.key for p in snapshot.live_pods}
    pods = [f"pod {p.key}: no address yet, finished or being removed" for p in snapshot.pods if p.key not in live]
    nodes = [f"node {n.metadata.name}: no InternalIP or no podCIDR yet" for n in snapshot.nodes
             if n.metadata.name not in snapshot.addresses]  # fmt: skip
    ports = [f"Service {s.key} port {p.port}: protocol {p.protocol} is not tested"
             for s in snapshot.services for p in s.spec.ports if p.protocol not in {"TCP", "UDP"}]  # fmt: skip
    return [*nodes, *pods, *ports]


def one_check(check: Check, observed: Observed, verdict: Verdict, *, has_evidence: bool) -> Json:
    """Return one check's row."""
    expected = check.expectation
    row = {
        "id": check.id,
        "path": check.path,
        "source": check.source.name,
        "target": check.target,
        "protocol": check.action.protocol,
        "subject": check.subject,
        "action": describe(check),
        "expected": [o.word for o in expected.outcomes],
        "expectedBackends": list(expected.backends),
        "expectedSources": {key: sorted(value) for key, value in expected.sources.items()},
        "expectedNodes": sorted(expected.nodes),
        "expectedEnd": expected.ends,
        "expectedAnswers": sorted(expected.answers),
        "actual": verdict.actual.word,
        "verdict": verdict.result.value,
        "reasons": list(verdict.reasons),
        "hints": list(verdict.hints),
        "attempts": observed.attempts,
        "milliseconds": round(observed.milliseconds, 2),
        "backends": sorted({h.backend for h in observed.hits if h.backend}),
        "nodes": sorted({h.node for h in observed.hits if h.node}),
        "sourcesSeen": sorted({h.source for h in observed.hits if h.source}),
        "answers": sorted(observed.records),
        "lastSeen": observed.last_place if verdict.result is not Result.PASSED else "",
        "responseCode": observed.response_code,
        "evidence": check.id if has_evidence else "",
    }
    return {key: value for key, value in row.items() if value not in ("", [], {})}


def describe(check: Check) -> str:
    """Return what was done, as a phrase."""
    action = check.action
    if isinstance(action, Ask):
        return f"query {action.server} for {action.name} {action.type} over {action.protocol}"
    if isinstance(action, LookUp):
        return f"resolve {action.name} with the search list of the pod's resolv.conf"
    if isinstance(action, Visit):
        by = f" by the name {action.name}" if action.name else ""
        return f"{action.protocol} to {action.address}:{action.port}{by}"
    size = f", {action.size} bytes that must not be fragmented" if action.size else ""
    return f"{action.protocol} to {action.address or action.target.address}{size}"


def collect_evidence(judged: Sequence[Judged], vxlan_port: int) -> dict[str, list[Json]]:
    """Return the decoded ways of chosen packets by check id."""
    chosen: dict[str, Observed] = {}
    kinds: set[tuple[str, str, str, bool]] = set()
    failures = 0
    for check, observed, verdict in judged:
        kind = (check.path, check.action.protocol, verdict.actual.word, observed.kept_source)
        failed = verdict.result is Result.FAILED
        if not observed.trail or (kind in kinds and not (failed and failures < MOST_FAILURES_WITH_EVIDENCE)):
            continue
        kinds.add(kind)
        failures += failed
        chosen[check.id] = observed
    return {key: evidence(observed.trail, vxlan_port) for key, observed in chosen.items()}


def failed(record: Json) -> bool:
    """Return whether a check failed."""
    return bool(record["totals"][Result.FAILED.value])


def tested_anything(record: Json) -> bool:
    """Return whether at least one check was carried out."""
    return bool(record["totals"][Result.PASSED.value] or record["totals"][Result.FAILED.value])


def untested(record: Json) -> int:
    """Return how many checks could not be carried out: their results are unknown, so a run with any does not pass."""
    return int(record["totals"][Result.NOT_TESTED.value])
