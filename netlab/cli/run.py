"""From errors to words and exit codes; nobody else chooses an exit code (design 6).

A signal to end (^C, a CI runner's SIGTERM, a closed terminal's SIGHUP) becomes an exception that nothing on the way
catches, so that `up` rolls back what is half-made before the process ends. It is a SystemExit because asyncio lets that one
through its callbacks and tasks, and drops every other BaseException there with a line in the log.

What would surprise you: Python prints an exception that a finalizer raises ("Exception ignored in ...") and goes on. A signal
that arrives just then would be lost, so it is sent once more.
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

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # ^C, a CI runner, a terminal that was closed
AGAIN = 0.001  # seconds until a signal whose exception was dropped is sent once more
UNAVAILABLE = "ServiceUnavailable"  # Kubernetes' reason, here of our own client: nobody answered
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
    """The process was asked to end; not an Exception, so that nothing mistakes it for a fault."""


def exit_code(error: NetlabError) -> int:
    """Return the code for an error: 2 the user's words or file, 4 the machine, 1 everything else."""
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
            _ignore_signals()  # the work is done, and its exit code is decided
    except InterruptedByUserError:
        say("interrupted")
        return INTERRUPTED


def _told(app: typer.Typer) -> int:
    """Run the app, say what went wrong, and return the exit code."""
    try:
        try:
            app(args=common_first(sys.argv[1:]), prog_name="netlab")
        finally:
            sys.stdout.flush()  # while an error of it can be told
    except InterruptedByUserError:
        raise
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except NetlabError as error:
        say(describe(error))
        if "K8SNETLAB_DEBUG" in os.environ:
            raise
        return exit_code(error)
    except OSError as error:  # the machine refused something that no part of netlab expects to be refused
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
    """Handle an exception that Python drops: send a signal once more, print anything else as Python does."""
    if isinstance(dropped.exc_value, InterruptedByUserError):
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    else:
        sys.__unraisablehook__(dropped)


def describe(error: NetlabError) -> str:
    """Return an error as the user reads it."""
    if isinstance(error, InvalidTopologyError):
        return str(error)
    if isinstance(error, ApiError) and error.reason == UNAVAILABLE and not error.remedy:
        return f"error: {error}\n{NO_ANSWER}"
    prefix = "error: API server: " if isinstance(error, ApiError) else "error: "
    return prefix + str(error)


def say(text: str) -> None:
    """Talk to the user: on stderr, so that stdout holds data only."""
    print(text, file=sys.stderr)
