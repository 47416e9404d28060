"""The record as Markdown for a job summary of GitHub Actions, which refuses a step's text beyond 1024 kB: cut well before.

The path classes come first, then what may be wrong, then failures folded in `<details>`, each with its packet's way.
"""

from __future__ import annotations

from netlab.api.resources import Json
from netlab.probe.judge.verdict import Result
from netlab.probe.report import summary

MOST_BYTES = 900_000
ROOM_FOR_END = 200


def markdown(record: Json) -> str:
    """Return the text, at most MOST_BYTES long in UTF-8; what is left out is counted."""
    lines = [f"### {cell(summary.headline(record))}", "", "| path | passed | failed | not tested |", "|---|--:|--:|--:|"]
    for path, count in summary.paths(record).items():
        lines.append(f"| {cell(path)} | " + " | ".join(str(count[r.value]) for r in Result) + " |")
    lines += ["", *(f"- **{cell(cause)}**" for cause in summary.causes(record))]
    lines += ["", *(f"- {cell(note)}" for note in summary.notes(record))]
    text = "\n".join(lines) + "\n"
    blocks = [
        block(record, row)
        for result in (Result.FAILED, Result.NOT_TESTED)
        for row in summary.equal_rows(record, result.value)
    ]  # fmt: skip
    return _fill(text, blocks)


def _fill(text: str, blocks: list[str]) -> str:
    used = len(text.encode())
    parts = [text]
    for position, piece in enumerate(blocks):
        used += len(piece.encode())
        if used > MOST_BYTES - ROOM_FOR_END:
            parts.append(f"\n{len(blocks) - position} more are not shown here; the JSON record contains all of them.\n")
            break
        parts.append(piece)
    return "".join(parts)


def block(record: Json, row: Json) -> str:
    """Return one folded failure."""
    head = f"{row['actual']}: {row['path']}, {row['targets'][0]}"
    more = f" and {len(row['targets']) - 1} more" if len(row["targets"]) > 1 else ""
    hops = record["evidence"].get(row["id"], [])
    way = [f"{h['where']} {h['direction']}: {h['packet']} {h['source']} > {h['destination']}{_outer(h)}" for h in hops]
    fenced = ["", "```", *(line.replace("```", "'''") for line in way), "```"] if way else []
    reasons = [f"- {cell(reason)}" for reason in (*row["reasons"], *row.get("hints", ()))]
    body = "\n".join([f"`{row['id']}`", "", *reasons, *fenced])
    return f"\n<details><summary>{cell(head + more)}</summary>\n\n{body}\n\n</details>\n"


def _outer(hop: Json) -> str:
    outer = hop.get("outer")
    return f" in VXLAN {outer['source']} > {outer['destination']}:{outer['port']} VNI {outer['vni']}" if outer else ""


def cell(text: str) -> str:
    """Return text that stays in its table cell and is not taken for HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|").replace("\n", " ")
