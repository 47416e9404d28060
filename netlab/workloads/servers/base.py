"""The vocabulary of built-in servers: listeners, and a command line's flags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from netlab.api.numbers import whole_number
from netlab.errors import printable
from netlab.http.messages import HttpHandler
from netlab.workloads.protocol import ServerSpec

POD_HEADER = "X-Netlab-Pod"
CLIENT_HEADER = "X-Netlab-Client"

DatagramHandler = Callable[[bytes, str], bytes | None]


@dataclass(frozen=True)
class Listener:
    """One port. Just one of the handlers is set; `raw` with `http` means echo what is not HTTP."""

    port: int
    protocol: str = "TCP"
    http: HttpHandler | None = None
    datagram: DatagramHandler | None = None
    raw: bool = False


@dataclass
class Process:
    """What a server may do to itself as a process: end. `exit` is put in by whoever runs it."""

    spec: ServerSpec
    exit: Callable[[int], None] = field(default=lambda _code: None)


ServerFactory = Callable[[Process], tuple[Listener, ...]]


class BadArgumentsError(Exception):
    """The container's args are not what the image understands; it ends with exit code 2, as the program would, or with `code`."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def flag(args: Sequence[str], name: str, default: str) -> str:
    """Return the value of `-name=value`, `--name=value`, `-name value` or `--name value`; the last one counts."""
    found = default
    for position, word in enumerate(args):
        key, equals, value = word.partition("=")
        if key.lstrip("-") != name or not key.startswith("-"):
            continue
        if equals:
            found = value
        elif position + 1 < len(args):
            found = args[position + 1]
    return found


def port_flag(args: Sequence[str], name: str, default: int) -> int:
    """Return a flag that is a port number: `8080` or `:8080` or `0.0.0.0:8080`."""
    value = flag(args, name, str(default)).rpartition(":")[2]
    number = whole_number(value, least=1, most=65535)
    if not number:
        raise BadArgumentsError(f'-{name}: invalid port number "{printable(value)}"')
    return number
