"""Run programs of the machine to their end: mmdebstrap, pip. An error contains their last output.

They do not outlive this process: after an interrupt or the timeout, they get SIGTERM and some time
to clean up, together with their children, which share their process group (mmdebstrap does not end
them itself).
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

LAST_LINES = 12  # of a program's output, in an error
CLEANUP_TIMEOUT = 10.0  # seconds to clean up after SIGTERM
PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)  # a child would inherit this
log = logging.getLogger("netlab.process")


def run(doing: str, argv: Sequence[str], *, limit: float) -> None:
    """Run a program to its end.

    Raises LabError with its last output on failure or after `limit` seconds.
    """
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
    """Return a program's exit code (minus the signal that killed it), None on timeout."""
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
    """End this process's child and its group.

    The pid is valid because no code has waited for it.
    """
    os.killpg(pid, signal.SIGTERM)
    if _wait(pid, CLEANUP_TIMEOUT) is None:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
