"""What all verbs share: output formats, verbosity, and whether stderr is interactive."""

from __future__ import annotations

import enum
import json
import logging
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


class Format(enum.StrEnum):
    """The format of results on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class LogFormat(enum.StrEnum):
    """The format of log lines on stderr."""

    TEXT = "text"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="Format of the result.")]
LabArgument = Annotated[str, typer.Argument(metavar="[NAME]", help="Name of the lab; optional if just one runs.")]


@dataclass
class Talk:
    """The verbosity of stderr, and whether progress may be drawn there."""

    quiet: bool = False
    verbose: int = 0

    @property
    def interactive(self) -> bool:
        """A terminal on stderr that understands cursor movements."""
        return not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


TALK = Talk()


class JsonLines(logging.Formatter):
    """One JSON object per log record, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        return json.dumps(line)


def configure(*, verbose: int, quiet: bool, log_format: LogFormat) -> None:
    """Set up verbosity and logging for this run."""
    TALK.quiet, TALK.verbose = quiet, verbose
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if log_format is LogFormat.JSON else logging.Formatter("%(levelname)s %(name)s: %(message)s")
    )
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(handlers=[handler], level=level)


def program() -> str:
    """Return how to call netlab again from here, as this process was called: `netlab`, `sudo .venv/bin/netlab`, ..."""
    called = sys.argv[0]
    name = os.path.basename(called)  # noqa: PTH119 -- what the user typed, kept as it is
    if name == "__main__.py":
        said = f"{sys.executable} -m netlab"
    else:
        found = shutil.which(name)
        said = name if found and Path(called).exists() and Path(found).samefile(called) else called
    return f"sudo {said}" if "SUDO_USER" in os.environ else said


def note(text: str) -> None:
    """Print a message on stderr unless -q is given."""
    if not TALK.quiet:
        print(text, file=sys.stderr)
