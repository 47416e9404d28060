"""The record as annotations of GitHub Actions: lines `::error title=...::message` that its runner reads from a step's output.

GitHub shows ten annotations of a kind per step and drops the others silently: at most nine rows are printed, and how many
more there are. Equal failures are one row, as everywhere. What could not be tested is a warning.
"""

from __future__ import annotations

from netlab.api.resources import Json
from netlab.probe.judge.verdict import Result
from netlab.probe.report import summary

MOST = 9
KINDS = {Result.FAILED: "error", Result.NOT_TESTED: "warning"}
IN_MESSAGE = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
IN_PROPERTY = {**IN_MESSAGE, **str.maketrans({":": "%3A", ",": "%2C"})}


def annotate(record: Json) -> list[str]:
    """Return the lines, failures first."""
    if error := record.get("error"):
        return [annotation("error", "netlab test connectivity", f"{record['lab']} could not be tested: {error}")]
    return [line for result, kind in KINDS.items() for line in _of_kind(kind, summary.equal_rows(record, result.value))]


def _of_kind(kind: str, rows: list[Json]) -> list[str]:
    lines = [annotation(kind, f"{row['actual']}: {row['path']}", _message(row)) for row in rows[:MOST]]
    if len(rows) > MOST:
        more = f"and {len(rows) - MOST} more: see the job summary and the JSON record"
        lines.append(annotation(kind, "netlab test connectivity", more))
    return lines


def _message(row: Json) -> str:
    return "\n".join([*summary.first_few(row["targets"]), *row["reasons"], *row.get("hints", ())])


def annotation(kind: str, title: str, message: str) -> str:
    """Return one workflow command, with the characters that mean something in it escaped."""
    return f"::{kind} title={title.translate(IN_PROPERTY)}::{message.translate(IN_MESSAGE)}"
