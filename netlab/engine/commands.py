"""A command in a container: started, listened to until it ends, and ended when it takes too long.

The engine says nothing of a command but what it is asked: its words come on a connection that ends with it, its exit code and its
process by questions (`exec_inspect`). A thread reads; who waits for it may give up after a while, and then ends the command.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from typing import Any

import docker
from docker.utils.socket import frames_iter

from netlab.errors import EngineError

BEGINNING = 0.02  # seconds between questions whether a command has begun


def run_command(client: docker.APIClient, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:
    """Run a command and return its exit code and what it said; TimeoutError, and its end, after `limit` seconds.

    Raises what the SDK raises, and EngineError when the engine does not know how the command ended.
    """
    with ThreadPoolExecutor(1) as reader:
        made = client.exec_create(container, list(argv))["Id"]
        output = reader.submit(_output, client, made)
        try:
            said = output.result(limit)
        except TimeoutError:
            _kill(client, made, output)
            raise
    code = client.exec_inspect(made)["ExitCode"]
    if code is None:  # the connection has ended before the command
        raise EngineError(
            f"the container engine returned no exit code for {argv[0]} in container {container}",
            remedy="Show its log: journalctl -u docker",
        )
    return int(code), said.decode(errors="replace")


def _output(client: docker.APIClient, command: str) -> bytes:
    """Start a command that was made ready and return what it says until it ends."""
    stream: Any = client.exec_start(command, socket=True)
    with closing(stream._response):  # noqa: SLF001 -- the SDK keeps the connection there; closing the stream leaves it open
        return b"".join(said for _, said in frames_iter(stream, tty=False))  # type: ignore[no-untyped-call]


def _kill(client: docker.APIClient, command: str, output: Future[bytes]) -> None:
    """Kill just this command: its pid is asked for again once it is held, so that it cannot be a stranger's.

    One that has not begun yet has no pid, and that it begins the engine tells nobody who listens for containers.
    """
    while not (pid := client.exec_inspect(command)["Pid"]):
        if wait([output], BEGINNING).done:
            return
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if client.exec_inspect(command)["Running"]:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
