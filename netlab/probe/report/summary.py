"""The record of a run condensed, as every rendering shows it: the sentence, counts by path class, equal rows, limits.

Renderings: `markdown` and `junit` here, the terminal's in `netlab.cli.connectivity`. None reads anything but the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netlab.api.resources import Json
from netlab.probe.judge.verdict import Result
from netlab.probe.plan.outcome import Outcome

MOST_TARGETS = 3
MOST_CAUSES = 10


def headline(record: Json) -> str:
    """Return the run in one sentence."""
    if record.get("error"):
        return f"{record['lab']}: could not be tested: {record['error']}"
    totals = record["totals"]
    parts = [f"{totals[Result.PASSED.value]} of {len(record['checks'])} checks passed"]
    parts += [f"{totals[r.value]} {word}" for r, word in ((Result.FAILED, "failed"), (Result.NOT_TESTED, "could not be tested"))
              if totals[r.value]]  # fmt: skip
    return f"{record['lab']}: {', '.join(parts)}, in {record['seconds']:.1f} s"


def paths(record: Json) -> dict[str, Counter[str]]:
    """Count verdicts per path class, in the record's order."""
    found: dict[str, Counter[str]] = {}
    for check in record["checks"]:
        found.setdefault(check["path"], Counter())[check["verdict"]] += 1
    return found


def equal_rows(record: Json, verdict: str) -> list[Json]:
    """Merge checks of one path class with the same outcome (at the same place, if known) into one row.

    `targets` are the pairs. The reasons shown are those of the first; the record has each check's own.
    """
    rows: dict[tuple[str, ...], Json] = {}
    for check in record["checks"]:
        if check["verdict"] != verdict:
            continue
        reasons = tuple(check.get("reasons", ()))
        end = (check["lastSeen"],) if check.get("lastSeen") and check["actual"] not in check["expected"] else reasons
        row = rows.setdefault((check["path"], check["actual"], *end), {**check, "reasons": list(reasons), "targets": []})
        row["targets"].append(f"{check['source']} -> {check['target']}/{check['protocol']}")
    return list(rows.values())


def causes(record: Json) -> list[str]:
    """Return the hints of failed and untested checks with the number of their checks, the most frequent first.

    One fault breaks hundreds of paths: the hints name it once.
    """
    hints = (hint for check in record["checks"] if check["verdict"] != Result.PASSED.value for hint in check.get("hints", ()))
    found = Counter(hints).most_common(MOST_CAUSES)
    return [f"{hint} ({count} {'checks' if count > 1 else 'check'})" for hint, count in found]


def first_few(names: Iterable[str]) -> list[str]:
    """Return the first few pairs and how many more there are."""
    listed = list(names)
    more = [f"and {len(listed) - MOST_TARGETS} more"] if len(listed) > MOST_TARGETS else []
    return [*listed[:MOST_TARGETS], *more]


def outcomes(record: Json) -> dict[str, str]:
    """Return the outcomes of each path class: `ALLOWED 3, DROPPED 1`."""
    found: dict[str, Counter[str]] = {}
    for check in record["checks"]:
        found.setdefault(check["path"], Counter())[check["actual"]] += 1
    order = [o.word for o in Outcome]
    return {path: ", ".join(f"{w} {count[w]}" for w in order if count[w]) for path, count in found.items()}


def notes(record: Json) -> list[str]:
    """Return what limits the record: pairs left out, places not captured, things no check was planned for or not served."""
    found = [f"{p['path']}: {p['chosen']} of {p['possible']} possible checks were chosen"
             for p in record["plan"] if p["chosen"] < p["possible"]]  # fmt: skip
    captures = record["captures"]
    found += [f"no capture in {place}: {why}" for place, why in sorted(captures["missing"].items())]
    found += [f"the capture in {place} lost {number} packets" for place, number in sorted(captures["lost"].items())]
    changed = record["changed"]
    if changed["repeated"] or changed["dropped"]:
        found.append(
            f"objects changed during the test: {changed['repeated']} checks were run again,"
            f" {len(changed['dropped'])} dropped (their objects no longer exist)"
        )
    return [*found, *record["machine"], *(f"not planned: {what}" for what in record["skipped"]), *record["remarks"]]
