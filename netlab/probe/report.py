"""Renderings of the record for a terminal; failures first and in full, then one line per path class.

`junit` and `markdown` are the other two. All of them read nothing but the JSON record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from netlab.probe.outcome import Outcome
from netlab.probe.record import failed, tested_anything
from netlab.probe.verdict import Result

__all__ = ["equal_rows", "failed", "headline", "paths", "table", "tested_anything"]

Json = dict[str, Any]
STYLES = {Result.PASSED.value: "green", Result.FAILED.value: "bold red", Result.NOT_TESTED.value: "yellow"}
MOST_ROWS = 30
MOST_TARGETS = 3


def headline(record: Json) -> str:
    """Return the run in one sentence."""
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
    """Collapse checks of one path class that came to the same end (at the same place, if known) into one row.

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


def table(record: Json) -> RenderableType:
    """Return the record as rich tables: what failed, what could not be tested, all path classes, the sentence."""
    parts: list[RenderableType] = []
    for result, title in ((Result.FAILED, "Failed"), (Result.NOT_TESTED, "Could not be tested")):
        if rows := equal_rows(record, result.value):
            parts.append(_problems(title, rows, STYLES[result.value]))
    parts.append(_paths(record))
    parts += [Text(note, style="yellow") for note in notes(record)]
    style = STYLES[Result.FAILED.value if failed(record) else Result.PASSED.value]
    parts.append(Text(headline(record), style=style if tested_anything(record) else STYLES[Result.NOT_TESTED.value]))
    return Group(*parts)


def _problems(title: str, rows: list[Json], style: str) -> Text:
    """Return problems as paragraphs: long names and sentences do not fit into columns."""
    shown = Text(f"{title}\n", style="bold")
    for row in rows[:MOST_ROWS]:
        count = f" ({len(row['targets'])} checks)" if len(row["targets"]) > 1 else ""
        shown.append(f"{row['actual']}", style=style)
        shown.append(f" {row['path']}{count}\n", style="bold")
        shown.append("".join(f"    {line}\n" for line in targets(row["targets"])), style="not bold")
        shown.append("".join(f"      {reason}\n" for reason in row["reasons"]), style="not bold")
        shown.append("".join(f"      {hint}\n" for hint in row.get("hints", ())), style="bold yellow")
    if len(rows) > MOST_ROWS:
        shown.append(f"and {len(rows) - MOST_ROWS} more: see the JSON record (-f json)\n", style="not bold")
    return shown


def targets(names: Iterable[str]) -> list[str]:
    """Return the first few pairs and how many more there are."""
    listed = list(names)
    more = [f"and {len(listed) - MOST_TARGETS} more"] if len(listed) > MOST_TARGETS else []
    return [*listed[:MOST_TARGETS], *more]


def _paths(record: Json) -> Table:
    shown = Table(title="Paths", title_justify="left")
    shown.add_column("path")
    shown.add_column("passed", justify="right")
    shown.add_column("failed", justify="right")
    shown.add_column("not tested", justify="right")
    shown.add_column("outcomes")
    words = _outcomes(record)
    for path, count in paths(record).items():
        numbers = (str(count[r.value]) if count[r.value] else "" for r in Result)
        cells = [Text(n, style=STYLES[r.value]) for n, r in zip(numbers, Result, strict=True)]
        shown.add_row(path, *cells, words[path])
    return shown


def _outcomes(record: Json) -> dict[str, str]:
    found: dict[str, Counter[str]] = {}
    for check in record["checks"]:
        found.setdefault(check["path"], Counter())[check["actual"]] += 1
    order = [o.word for o in Outcome]
    return {path: ", ".join(f"{w} {count[w]}" for w in order if count[w]) for path, count in found.items()}


def notes(record: Json) -> list[str]:
    """Return what limits the record: pairs left out, places not captured, things no check was planned for."""
    found = [f"{p['path']}: {p['chosen']} of {p['possible']} possible checks were chosen"
             for p in record["plan"] if p["chosen"] < p["possible"]]  # fmt: skip
    captures = record["captures"]
    found += [f"no capture in {place}: {why}" for place, why in sorted(captures["missing"].items())]
    found += [f"the capture in {place} lost {number} packets" for place, number in sorted(captures["lost"].items())]
    return [*found, *(f"not planned: {what}" for what in record["skipped"])]
