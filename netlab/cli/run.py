"""Errors become messages and exit codes; no other module chooses an exit code (design 6).

A signal to end (^C, a CI runner's SIGTERM, a closed terminal's SIGHUP) becomes an exception that no
other code catches, so that `up` rolls back an incomplete lab before the process ends. It is a
SystemExit because asyncio passes that one through its callbacks and tasks, and drops every other
BaseException there with a line in the log.

What would surprise you: Python prints an exception that a finalizer raises ("Exception ignored in
...") and continues. A signal that arrives at that time would be lost, so the process sends it
again.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from netlab.cli.entry import INTERRUPTED
from netlab.cli.words import common_first
from netlab.errors import ApiError, CannotTestError, InvalidTopologyError, NetlabError, UnsupportedHostError, UsageError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # ^C, a CI runner, a closed terminal
RESEND_SECONDS = 0.001  # seconds until a signal whose exception was dropped is sent again
UNAVAILABLE = "ServiceUnavailable"  # Kubernetes' reason, here from netlab's own client: the server did not answer
FAILED, INVALID, UNSUPPORTED = 1, 2, 4
FULL = "Free space there, or remove a lab, which needs no space: netlab down NAME"
NO_ANSWER = "Show the cause: netlab logs daemon. Restart the lab: netlab down NAME, then netlab up FILE."
EXIT_CODES: dict[type[NetlabError], int] = {
    UsageError: INVALID,
    InvalidTopologyError: INVALID,
    CannotTestError: INVALID,
    UnsupportedHostError: UNSUPPORTED,
}


class InterruptedByUserError(SystemExit):
    """A signal to end was received; not an Exception, so that no handler treats it as an error."""


def exit_code(error: NetlabError) -> int:
    """Return the code for an error: 2 invalid usage or topology, 4 the machine, 1 any other."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)


def guarded(app: typer.Typer) -> int:
    """Run the app and return the process's exit code. No traceback reaches a user unless K8SNETLAB_DEBUG is set."""
    sys.unraisablehook = _send_again
    try:
        try:
            for number in ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    signal.signal(number, _interrupt)
            return _told(app)
        finally:
            _ignore_signals()  # the work is done, and its exit code is final
    except InterruptedByUserError:
        say("interrupted")
        return INTERRUPTED


def _told(app: typer.Typer) -> int:
    """Run the app, print its error, and return the exit code."""
    try:
        try:
            app(args=common_first(sys.argv[1:]), prog_name="netlab")
        finally:
            sys.stdout.flush()  # while its error can still be reported
    except InterruptedByUserError:
        raise
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except NetlabError as error:
        say(describe(error))
        if "K8SNETLAB_DEBUG" in os.environ:
            raise
        return exit_code(error)
    except OSError as error:  # an error of the machine that no part of netlab handles
        say(f"error: {error.filename or 'the machine'}: {error.strerror or error}")
        if error.errno == errno.ENOSPC and str(error.filename).startswith("/"):
            say(FULL)
        if "K8SNETLAB_DEBUG" in os.environ:
            raise
        return UNSUPPORTED
    return 0


def _ignore_signals() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    _ignore_signals()  # a second one must not stop the roll-back
    raise InterruptedByUserError


def _send_again(dropped: UnraisableHookArgs) -> None:
    """Handle an exception that Python drops: send a signal again, print anything else."""
    if isinstance(dropped.exc_value, InterruptedByUserError):
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, RESEND_SECONDS)
    else:
        sys.__unraisablehook__(dropped)


def describe(error: NetlabError) -> str:
    """Return the message of an error."""
    if isinstance(error, InvalidTopologyError):
        return str(error)
    if isinstance(error, ApiError) and error.reason == UNAVAILABLE and not error.remedy:
        return f"error: {error}\n{NO_ANSWER}"
    prefix = "error: API server: " if isinstance(error, ApiError) else "error: "
    return prefix + str(error)


def say(text: str) -> None:
    """Print a message on stderr; stdout has results only."""
    print(text, file=sys.stderr)
