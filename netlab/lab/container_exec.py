"""Run a command in a container with this terminal: the engine's own client replaces this process.

The client handles terminals: sizes, raw mode, signals, the end of input. Its exit code is the
command's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import NoReturn

from netlab.errors import UnsupportedHostError
from netlab.process.enter import replace_process

CLIENT = "docker"
TERMINAL = ("TERM", "LANG")  # variables of the caller that a command needs


def execute(container: str, command: Sequence[str], *, user: str = "") -> NoReturn:
    """Become the command. Raises UnsupportedHostError if the client is not installed."""
    if shutil.which(CLIENT) is None:
        raise UnsupportedHostError(
            f"the program {CLIENT}, which runs commands in containers, is not installed",
            remedy="Install it: apt-get install -y docker.io (or docker-cli, if that is a separate package)",
        )
    replace_process(client_command(container, command, os.environ, user=user, terminal=os.isatty(0) and os.isatty(1)), os.environ)
    raise AssertionError("unreachable: the process was replaced, or has ended")


def client_command(
    container: str, command: Sequence[str], environment: Mapping[str, str], *, user: str, terminal: bool
) -> list[str]:
    """Return the client's command line: with this terminal if there is one, and always with this input."""
    known = [part for name in TERMINAL if name in environment for part in ("--env", f"{name}={environment[name]}")]
    as_user = ["--user", user] if user else []
    return [CLIENT, "exec", "--interactive", *(["--tty"] if terminal else []), *known, *as_user, container, *command]
