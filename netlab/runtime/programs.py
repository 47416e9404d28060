"""Programs of the machine that make something for us and end: mmdebstrap, pip. Their words are kept for the error."""

from __future__ import annotations

import logging
import shlex
import subprocess  # noqa: TID251 -- this is the place
from collections.abc import Sequence

from netlab.errors import LabError

LAST_LINES = 12  # of what a program said, in an error
GRACE = 10.0  # seconds to clean up when it is ended
log = logging.getLogger("netlab.runtime")


def run(doing: str, argv: Sequence[str], *, limit: float) -> None:
    """Run a program to its end. Raises LabError with its last words when it fails or is not done after `limit` seconds."""
    log.info("program=%r", shlex.join(argv))
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as program:
        try:
            said, _ = program.communicate(timeout=limit)
        except subprocess.TimeoutExpired as error:
            _end(program)
            raise LabError(f"could not {doing}: not done after {limit:.0f} s", remedy=_words(argv, "")) from error
        except BaseException:  # interrupted: it must not go on without us
            _end(program)
            raise
    if program.returncode:
        raise LabError(f"could not {doing}: exit code {program.returncode}", remedy=_words(argv, said))


def _end(program: subprocess.Popen[str]) -> None:
    program.terminate()
    try:
        program.wait(GRACE)
    except subprocess.TimeoutExpired:
        program.kill()


def _words(argv: Sequence[str], said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()][-LAST_LINES:]
    return "\n".join([f"The command was: {shlex.join(argv)}", *(f"  {line}" for line in lines)])
