"""A netlink socket: batches of requests with an acknowledgement each, and dumps.

Rules:
1. A socket stays in the network namespace it was made in; make it inside (`namespaces.inside`), use it anywhere.
2. Requests go out BATCH to a datagram. The kernel works them off in order before `send` returns and answers each one,
   so the first refused can be named. It does not stop at it: the rest of the same datagram is tried too.
3. A dump that changed under the reader carries a flag, and is read again from the start: its parts do not fit together.
4. A request's number is its place in its datagram: every answer is read before the next datagram is sent.
5. The kernel explains a refusal in an extended acknowledgement; that text is kept beside the error number.

Requests are pyroute2's messages (`codecs`), and an answer has the class of its request; what a dump yields is read by whatever
its question lists (`listing`). The socket is our own, as pyroute2's send one request at a time, and enter a namespace by
forking: 6 ms for each.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from netlab.errors import KernelError
from netlab.kernel.codecs import Message, netlink

BATCH = 50  # messages per datagram: machine.md's measure; their answers fit any receive buffer
RECEIVE = 1 << 16
DUMP_ATTEMPTS = 20
_HEADER = struct.Struct("=IHHI")  # length, type, flags, sequence number: enough to choose what reads the whole
Listed = TypeVar("Listed")
_ENDS = frozenset({netlink.NLMSG_ERROR, netlink.NLMSG_DONE})


@dataclass(frozen=True)
class Answer:
    """How one request ended: errno (0: done) and the kernel's words, if it had any; `messages` are what it returned."""

    errno: int
    words: str = ""
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Question(Generic[Listed]):
    """What to list, encoded once and asked often; `read` makes a value of each message: of a datagram, by offset and length."""

    read: Callable[[bytes, int, int], Listed]
    encoded: bytes


def question(request: Message, read: Callable[[bytes, int, int], Listed]) -> Question[Listed]:
    """Make a request to list something."""
    return Question(read, _encoded(request, netlink.NLM_F_DUMP, 0))


def whole(kind: type[Message]) -> Callable[[bytes, int, int], Message]:
    """Return what reads messages as pyroute2 does: attributes can be asked for, and sent again as they came."""
    return lambda datagram, offset, _length: _decoded(kind, datagram, offset)


class _Head(NamedTuple):
    """How a message begins."""

    length: int
    kind: int
    flags: int
    number: int


class Netlink:
    """A netlink socket of one protocol (NETLINK_ROUTE, NETLINK_NETFILTER) in the namespace it was made in."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        for option in (netlink.NETLINK_EXT_ACK, netlink.NETLINK_GET_STRICT_CHK):  # errors with text; dumps apply their filter
            self._socket.setsockopt(netlink.SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def transact(self, requests: Sequence[Message]) -> list[Answer]:
        """Send one batch of requests and return an answer to each, in order."""
        self._socket.send(b"".join(_encoded(request, netlink.NLM_F_ACK, number) for number, request in enumerate(requests)))
        classes = [type(request) for request in requests]
        ends: dict[int, Message] = {}
        returned: dict[int, list[Message]] = {}
        while len(ends) < len(requests):
            for head, datagram, offset in self._receive():
                if head.kind == netlink.NLMSG_ERROR:
                    ends[head.number] = _decoded(netlink.nlmsgerr, datagram, offset)
                else:
                    returned.setdefault(head.number, []).append(_decoded(classes[head.number], datagram, offset))
        return [Answer(-end["error"], _words(end), tuple(returned.get(number, ()))) for number, end in sorted(ends.items())]

    def dump(self, question: Question[Listed]) -> list[Listed]:
        """Return everything a question yields, consistent in itself."""
        for _ in range(DUMP_ATTEMPTS):
            self._socket.send(question.encoded)
            received: list[Listed] = []
            if self._until_done(question, received):
                return received
        message = f"The kernel's tables changed during each of {DUMP_ATTEMPTS} attempts to read them."
        raise KernelError(message, remedy="Another process changes this namespace continuously; stop it and try again.")

    def _until_done(self, question: Question[Listed], received: list[Listed]) -> bool:
        """Take in what one dump returns; return whether nothing changed during it. The closing DONE too may carry the flag."""
        consistent = True
        while True:
            for head, datagram, offset in self._receive():
                consistent = consistent and not head.flags & netlink.NLM_F_DUMP_INTR
                if head.kind not in _ENDS:
                    received.append(question.read(datagram, offset, head.length))
                    continue
                end = _decoded(netlink.nlmsgerr, datagram, offset)
                if end["error"]:  # DONE too ends with an error number
                    words = _words(end) or os.strerror(-end["error"])
                    raise KernelError(f"The kernel refused to list its tables: {words}.", errno=-end["error"])
                if head.kind == netlink.NLMSG_DONE:
                    return consistent

    def _receive(self) -> Iterator[tuple[_Head, bytes, int]]:
        """Yield the messages of the next datagram: how each begins, the datagram, and where in it."""
        datagram, offset = self._socket.recv(RECEIVE), 0
        while offset < len(datagram):
            head = _Head._make(_HEADER.unpack_from(datagram, offset))
            yield head, datagram, offset
            offset += head.length + (-head.length % 4)


def _decoded(kind: type[Message], datagram: bytes, offset: int) -> Message:
    message = kind(datagram, offset)
    message.decode()
    return message


def _encoded(request: Message, flags: int, number: int) -> bytes:
    header = request["header"]
    header["flags"] |= netlink.NLM_F_REQUEST | flags
    header["sequence_number"] = number
    request.encode()
    return bytes(request.data)


def _words(end: Message) -> str:
    """Return the kernel's explanation of how a request ended."""
    return str(end.get_attr("NLMSGERR_ATTR_MSG", ""))
