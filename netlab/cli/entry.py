"""The entry point of the command `netlab`.

Importing the command line takes a tenth of a second. A ^C in that time must not print a traceback
of an import: the handler below ends the process at once. There is nothing to roll back at that
time. `netlab.cli.run` replaces this handler by its own.

This module imports only what the interpreter has loaded already, so it installs the handler as
early as possible: `_signal` is what `signal` wraps, without the tenth of all modules that `signal`
needs for its enumerations. It cannot cover the time before its first line: the start of the
interpreter and the few lines of the script that an installer writes.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stubs: see above
import os

INTERRUPTED = 130  # as a shell reports a command that ^C ended
SIGHUP, SIGINT, SIGTERM = 1, 2, 15  # a closed terminal, ^C, a CI runner
IGNORED = 1  # SIG_IGN: nohup


def end_at_once(_number: int, _frame: object) -> None:
    """End the process before it has done anything; this handles a signal."""
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
