"""Programs of the machine that make something for us and end: mmdebstrap, pip. Their words are kept for the error.

They do not outlive us: when we are interrupted, or have waited long enough, they get SIGTERM and a moment to clean up; they and
their children, a process group of its own (mmdebstrap leaves it to them to end).
"""

from __future__ import annotations

import logging
import os
import select
import shlex
import signal
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import IO

from netlab.errors import LabError
from netlab.process.children import child

LAST_LINES = 12  # of what a program said, in an error
GRACE = 10.0  # seconds to clean up when it is ended
PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)  # and a child would, too
log = logging.getLogger("netlab.process")


def run(doing: str, argv: Sequence[str], *, limit: float) -> None:
    """Run a program to its end. Raises LabError with its last words when it fails or is not done after `limit` seconds."""
    log.info("program=%r", shlex.join(argv))
    with tempfile.TemporaryFile() as output:
        code = _run(argv, output, limit)
        if code == 0:
            return
        output.seek(0)
        lines = [line for line in output.read().decode(errors="replace").splitlines() if line.strip()][-LAST_LINES:]
    why = f"timed out after {limit:.3g} s" if code is None else f"exit code {code}"
    raise LabError(
        f"could not {doing}: {why}", remedy="\n".join([f"Command: {shlex.join(argv)}", *(f"  {line}" for line in lines)])
    )


def _run(argv: Sequence[str], output: IO[bytes], limit: float) -> int | None:
    """Return a program's exit code (minus the number of the signal that killed it), None when it took too long."""
    with child(partial(_spawn, argv, output), _end) as pid:
        code = _wait(pid, limit)
    if code is None:
        _end(pid)
    return code


def _spawn(argv: Sequence[str], output: IO[bytes]) -> int:
    return os.posix_spawnp(
        argv[0],
        list(argv),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
        ],
        setpgroup=0,
        setsigmask=[],
        setsigdef=PYTHON_IGNORES,
    )


def _wait(pid: int, limit: float) -> int | None:
    descriptor = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([descriptor], [], [], limit)
    finally:
        os.close(descriptor)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if ready else None


def _end(pid: int) -> None:
    """End our own child, which nobody has waited for, and its group: the number is still theirs."""
    os.killpg(pid, signal.SIGTERM)
    if _wait(pid, GRACE) is None:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
