"""The record of a connectivity test for a terminal: what failed first and in full, then one line per path class.

Likely causes are at the end, above the summary of the run, where they stay visible after hundreds
of lines.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from netlab.api.resources import Json
from netlab.probe.judge.verdict import Result
from netlab.probe.report import summary
from netlab.probe.report.record import failed, tested_anything

STYLES = {Result.PASSED.value: "green", Result.FAILED.value: "bold red", Result.NOT_TESTED.value: "yellow"}
COLUMNS = {Result.PASSED: "passed", Result.FAILED: "failed", Result.NOT_TESTED: "not tested"}
MOST_ROWS = 30


def report(record: Json) -> RenderableType:
    """Return failures, checks that could not be run, path classes, notes, causes, the summary."""
    parts: list[RenderableType] = []
    for result, title in ((Result.FAILED, "Failed"), (Result.NOT_TESTED, "Could not be run")):
        if rows := summary.equal_rows(record, result.value):
            parts.append(_problems(title, rows, STYLES[result.value]))
    parts.append(_paths(record))
    parts += [Text(note, style="yellow") for note in summary.notes(record)]
    if causes := summary.causes(record):
        lines = "".join(f"\n    {cause}" for cause in causes)
        parts.append(Text("Likely causes", style="bold").append(lines, style="not bold yellow"))
    style = STYLES[Result.FAILED.value if failed(record) else Result.PASSED.value]
    parts.append(Text(summary.headline(record), style=style if tested_anything(record) else STYLES[Result.NOT_TESTED.value]))
    return Group(*parts)


def _problems(title: str, rows: list[Json], style: str) -> Text:
    """Return problems as paragraphs: long names and sentences do not fit into columns."""
    shown = Text(f"{title}\n", style="bold")
    for row in rows[:MOST_ROWS]:
        count = f" ({len(row['targets'])} checks)" if len(row["targets"]) > 1 else ""
        shown.append(f"{row['actual']}", style=style)
        shown.append(f" {row['path']}{count}\n", style="bold")
        shown.append("".join(f"    {line}\n" for line in summary.first_few(row["targets"])), style="not bold")
        shown.append("".join(f"      {reason}\n" for reason in row["reasons"]), style="not bold")
        shown.append("".join(f"      {hint}\n" for hint in row.get("hints", ())), style="bold yellow")
    if len(rows) > MOST_ROWS:
        shown.append(f"and {len(rows) - MOST_ROWS} more: see the JSON record (-f json)\n", style="not bold")
    return shown


def _paths(record: Json) -> Table:
    """Return one line per path class, with columns for the results that occur.

    Classes never wrap.
    """
    counts, words = summary.paths(record), summary.outcomes(record)
    shown = Table(title="Paths", title_justify="left")
    shown.add_column("path", no_wrap=True)
    results = [r for r in Result if r is Result.PASSED or any(count[r.value] for count in counts.values())]
    for result in results:
        shown.add_column(COLUMNS[result], justify="right")
    shown.add_column("outcomes")
    for path, count in counts.items():
        cells = [Text(str(count[r.value] or ""), style=STYLES[r.value]) for r in results]
        shown.add_row(path, *cells, words[path])
    return shown
