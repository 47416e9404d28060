"""Run a command in a container: start it, read its output to its end, kill it after a timeout.

The engine sends the output on a connection that ends with the command; exit code and process must
be queried (`exec_inspect`). A thread reads the output; its caller waits until the timeout, and then
kills the command.
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

POLL_SECONDS = 0.02  # seconds between queries whether a command has started


def run_command(client: docker.APIClient, container: str, argv: Sequence[str], limit: float) -> tuple[int, str]:
    """Run a command and return its exit code and output; after `limit`, kill it: TimeoutError.

    Raises the SDK's exceptions, and EngineError if the engine has no exit code of the command.
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
    """Start a created command and return its output when it has ended."""
    stream: Any = client.exec_start(command, socket=True)
    with closing(stream._response):  # noqa: SLF001 -- the SDK keeps the connection there; closing the stream leaves it open
        return b"".join(said for _, said in frames_iter(stream, tty=False))  # type: ignore[no-untyped-call]


def _kill(client: docker.APIClient, command: str, output: Future[bytes]) -> None:
    """Kill exactly this command: a second query after opening the pidfd excludes a reused pid.

    A command that has not started has no pid, and the engine sends no event of containers when it
    starts.
    """
    while not (pid := client.exec_inspect(command)["Pid"]):
        if wait([output], POLL_SECONDS).done:
            return
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if client.exec_inspect(command)["Running"]:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
