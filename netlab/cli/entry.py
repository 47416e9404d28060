"""Where the command `netlab` begins.

Importing the command line takes a tenth of a second. A ^C in that time must not end in a traceback of whatever was being
imported: the handler below ends the process at once. Nothing has been made by then that would have to be rolled back.
`netlab.cli.run` puts its own handler in the place of this one. What comes before the first line here, the interpreter's own
start, is out of reach.
"""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130  # as a shell reports a command that ^C ended
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # ^C, a CI runner, a terminal that was closed


def end_at_once(_number: int, _frame: object) -> None:
    """End the process before it has done anything; the handler of a signal."""
    try:  # noqa: SIM105 -- contextlib takes time to import, in which a signal would end in a traceback
        os.write(2, b"interrupted\n")
    except OSError:  # standard error is closed or full: the exit code remains
        pass
    os._exit(INTERRUPTED)


def main() -> None:
    """Run the command line."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, end_at_once)
    from netlab.cli.main import main as command_line

    command_line()
