"""How a lab's processes log: one line per record, `key=value` throughout, on the standard error that is their log file."""

from __future__ import annotations

import logging
from pathlib import Path

FORMAT = "time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
TAIL = 5  # records shown when a process dies


def configure() -> None:
    """Set up logging of a process of the lab, whatever was set up before it was forked."""
    logging.basicConfig(level=logging.INFO, format=FORMAT, force=True)


def tail(log: Path) -> str:
    """Return what a log says of trouble, for an error message: its records above INFO, without the tracebacks between."""
    if not log.exists():
        return f"It left no log at {log}."
    records = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("time=")]
    trouble = [line for line in records if "level=INFO" not in line] or records
    if not trouble:
        return f"It has written nothing to its log ({log})."
    return "\n".join([f"From its log ({log}):", *(f"  {line}" for line in trouble[-TAIL:])])
