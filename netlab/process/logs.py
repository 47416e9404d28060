"""The logging of a lab's processes: one line per record, `key=value`, on stderr, their log file.

The file has a limit (`log_files.PROCESS`): the process itself starts a new one if a record has made
it too large. Standard error may also be a pipe (in a container, where the engine limits the log) or
a terminal: those have no limit here.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
from pathlib import Path
from typing import Final, TextIO

from netlab.process.log_files import PROCESS, RotatingFile, read_log

FORMAT = "time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
TAIL = 5  # records shown when a process dies
STREAMS: Final = (1, 2)


class _LimitedLog(logging.StreamHandler[TextIO]):
    """Writes to standard error, and starts a new file if it has become too large."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        found = os.fstat(STREAMS[-1])
        if stat.S_ISREG(found.st_mode) and found.st_size > PROCESS.size:
            renew_streams()


def configure() -> None:
    """Set up logging of a process of the lab; replaces the setup from before the fork."""
    logging.basicConfig(level=logging.INFO, format=FORMAT, force=True, handlers=[_LimitedLog(sys.stderr)])


def renew_streams() -> None:
    """Rotate the file of stdout and stderr.

    If there is no space for another file, or the file has no name, empty it.
    """
    path = Path(f"/proc/self/fd/{STREAMS[-1]}").readlink()
    try:
        if not path.exists():
            raise FileNotFoundError(path)
        RotatingFile(path, PROCESS).rotate()
        new = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        os.ftruncate(STREAMS[-1], 0)
        return
    for stream in STREAMS:
        os.dup2(new, stream)
    os.close(new)


def tail(log: Path) -> str:
    """Return the end of a log for an error message: records above INFO, without tracebacks."""
    text = read_log(log, PROCESS)
    if text is None:
        return f"It wrote no log: {log} does not exist."
    records = [line for line in text.splitlines() if line.startswith("time=")]
    trouble = [line for line in records if "level=INFO" not in line] or records
    if not trouble:
        return f"Its log is empty ({log})."
    return "\n".join([f"From its log ({log}):", *(f"  {line}" for line in trouble[-TAIL:])])
