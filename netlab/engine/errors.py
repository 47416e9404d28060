"""The address of this machine's engine, and the translation of the SDK's exceptions.

An unavailable engine is an UnsupportedHostError; an error of the engine is an EngineError with its
own message and, if there is one, a remedy.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from docker.errors import APIError, DockerException

from netlab.engine.codec import remedy
from netlab.errors import EngineError, UnsupportedHostError

HOST_VARIABLE = "DOCKER_HOST"
OWN_SOCKET = "unix:///var/run/docker.sock"
UNREACHABLE = {  # the error of connect(2) -> message, remedy
    errno.ENOENT: (
        "no such file or directory (is Docker installed?)",
        "Install and start the engine: apt-get install -y docker.io. Then check: netlab doctor",
    ),
    errno.ECONNREFUSED: (
        "connection refused (is the Docker daemon running?)",
        "Start the engine: systemctl start docker (or run dockerd).",
    ),
    errno.EACCES: ("permission denied", "Use sudo: labs of containers need root."),
}


def own_address() -> str:
    """Return the address of this machine's engine. Raises UnsupportedHostError for a remote one."""
    named = os.environ.get(HOST_VARIABLE) or OWN_SOCKET
    if not named.startswith("unix://"):
        raise UnsupportedHostError(
            f"{HOST_VARIABLE} names an engine that is not on this machine: {named}",
            remedy="Unset it, or run netlab on that machine: netlab wires containers through the kernel.",
        )
    return named


def require_answer(address: str) -> None:
    """Raise OSError if connect(2) fails: the HTTP library would wrap it four times."""
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(address.removeprefix("unix://"))


@contextmanager
def translated(doing: str, address: str) -> Iterator[None]:
    """Translate the SDK's exceptions in a `with` block; `doing` completes "could not"."""
    try:
        yield
    except APIError as error:
        words = (error.explanation or str(error)).strip()
        raise EngineError(
            f"the container engine could not {doing}: {words}", code=code_of(error), remedy=remedy(words)
        ) from error
    except (DockerException, requests.exceptions.RequestException, ConnectionError, FileNotFoundError, PermissionError) as error:
        cause = _cause(error)
        where = address.removeprefix("unix://")
        if cause in UNREACHABLE:
            what, todo = UNREACHABLE[cause]
            named = f" ({HOST_VARIABLE})" if os.environ.get(HOST_VARIABLE) else ""
            raise UnsupportedHostError(f"cannot connect to {where}{named}: {what}", remedy=todo) from error
        raise EngineError(
            f"the container engine at {where} could not {doing}: {error}", remedy="Show its log: journalctl -u docker"
        ) from error


def code_of(error: APIError) -> int:
    """Return the HTTP code of an error."""
    return int(error.response.status_code) if error.response is not None else 0


def _cause(error: BaseException) -> int:
    """Return the errno at the bottom of an error of the HTTP library, 0 if there is none."""
    seen: list[object] = [error]
    while seen:
        item = seen.pop()
        if isinstance(item, OSError) and item.errno in UNREACHABLE:
            return item.errno or 0
        if isinstance(item, BaseException):
            seen += [*item.args, item.__cause__, item.__context__]
    return 0
