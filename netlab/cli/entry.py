"""Where the command `netlab` begins.

Importing the command line takes a tenth of a second. A ^C in that time must not end in a traceback of whatever was being
imported: the handler below ends the process at once. Nothing has been made by then that would have to be rolled back.
`netlab.cli.run` puts its own handler in the place of this one.

Nothing is imported here that the interpreter has not loaded already, so the handler stands as early as it can: `_signal` is
what `signal` wraps, without the tenth of all modules that this takes for its enumerations. What comes before the first line
here, the interpreter's own start and the few lines of the script that an installer writes, is out of reach.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stubs: see above
import os

INTERRUPTED = 130  # as a shell reports a command that ^C ended
SIGHUP, SIGINT, SIGTERM = 1, 2, 15  # a terminal that was closed, ^C, a CI runner
IGNORED = 1  # SIG_IGN: nohup


def end_at_once(_number: int, _frame: object) -> None:
    """End the process before it has done anything; the handler of a signal."""
    try:  # noqa: SIM105 -- contextlib takes time to import, in which a signal would end in a traceback
        os.write(2, b"interrupted\n")
    except OSError:  # standard error is closed or full: the exit code remains
        pass
    os._exit(INTERRUPTED)


def main() -> None:
    """Run the command line."""
    for number in (SIGINT, SIGTERM, SIGHUP):
        if _signal.getsignal(number) != IGNORED:
            _signal.signal(number, end_at_once)
    from netlab.cli.main import main as command_line

    command_line()
