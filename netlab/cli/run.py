"""From errors to words and exit codes; nobody else chooses an exit code (design 6)."""

from __future__ import annotations

import os
import sys

import click
import typer

from netlab.errors import ApiError, InvalidTopologyError, NetlabError, UnsupportedHostError, UsageError

PASSED, FAILED, INVALID, UNSUPPORTED, INTERRUPTED = 0, 1, 2, 4, 130
EXIT_CODES: dict[type[NetlabError], int] = {
    UsageError: INVALID,
    InvalidTopologyError: INVALID,
    UnsupportedHostError: UNSUPPORTED,
}


def exit_code(error: NetlabError) -> int:
    """Return the code for an error: 2 the user's words or file, 4 the machine, 1 everything else."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)


def guarded(app: typer.Typer) -> int:
    """Run the app and return the process's exit code. No traceback reaches a user unless K8SNETLAB_DEBUG is set."""
    try:
        result = app(standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return INVALID
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left, as in `netlab status | head -1`
        return PASSED
    except NetlabError as error:
        say(describe(error))
        if "K8SNETLAB_DEBUG" in os.environ:
            raise
        return exit_code(error)
    return result if isinstance(result, int) else PASSED


def describe(error: NetlabError) -> str:
    """Return an error as the user reads it."""
    if isinstance(error, InvalidTopologyError):
        return str(error)
    prefix = "error: the API server says: " if isinstance(error, ApiError) else "error: "
    return prefix + str(error)


def say(text: str) -> None:
    """Talk to the user: on stderr, so that stdout holds data only."""
    print(text, file=sys.stderr)
