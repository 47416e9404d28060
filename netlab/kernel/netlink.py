"""A netlink socket: batches of requests with an acknowledgement each, and dumps.

Rules:
1. A socket stays in the network namespace it was made in; make it inside (`namespaces.inside`), use it anywhere.
2. Requests go out BATCH to a datagram. The kernel works them off in order before `send` returns and answers each one,
   so the first refused can be named. It does not stop at it: the rest of the same datagram is tried too.
3. A dump that changed under the reader carries a flag, and is read again from the start: its parts do not fit together.
4. A request's number is its place in its datagram: every answer is read before the next datagram is sent.
5. The kernel explains a refusal in an extended acknowledgement; those words are kept beside the error number.

The messages are pyroute2's (`codecs`); an answer has the class of its request. The socket is our own, as pyroute2's send
one request at a time, and enter a namespace by forking: 6 ms for each.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from netlab.errors import KernelError
from netlab.kernel.codecs import Message, netlink

BATCH = 50  # messages per datagram: machine.md's measure; their answers fit any receive buffer
RECEIVE = 1 << 16
DUMP_ATTEMPTS = 20
_HEADER = struct.Struct("=IHHI")  # length, type, flags, sequence number: enough to know which class decodes the whole
_ENDS = frozenset({netlink.NLMSG_ERROR, netlink.NLMSG_DONE})


@dataclass(frozen=True)
class Answer:
    """How one request ended: errno (0: done) and the kernel's words, if it had any; `messages` are what it returned."""

    errno: int
    words: str = ""
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Question:
    """What to list, encoded once and asked often; `kind` is the class of the answers."""

    kind: type[Message]
    encoded: bytes


def question(request: Message) -> Question:
    """Make a request to list something."""
    return Question(type(request), _encoded(request, netlink.NLM_F_DUMP, 0))


class Netlink:
    """A netlink socket of one protocol (NETLINK_ROUTE, NETLINK_NETFILTER) in the namespace it was made in."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        for option in (netlink.NETLINK_EXT_ACK, netlink.NETLINK_GET_STRICT_CHK):  # errors with words; dumps heed their filter
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
            for message in self._receive(classes):
                number = message["header"]["sequence_number"]
                if message["header"]["type"] == netlink.NLMSG_ERROR:
                    ends[number] = message
                else:
                    returned.setdefault(number, []).append(message)
        return [Answer(-end["error"], _words(end), tuple(returned.get(number, ()))) for number, end in sorted(ends.items())]

    def dump(self, question: Question) -> list[Message]:
        """Return everything a question yields, consistent in itself."""
        for _ in range(DUMP_ATTEMPTS):
            self._socket.send(question.encoded)
            received = list(self._until_done(question.kind))
            if not any(message["header"]["flags"] & netlink.NLM_F_DUMP_INTR for message in received):
                return received[:-1]
        message = f"The kernel's tables changed during each of {DUMP_ATTEMPTS} attempts to read them."
        raise KernelError(message, remedy="Something changes this namespace all the time; stop it and try again.")

    def _until_done(self, kind: type[Message]) -> Iterator[Message]:
        """Yield what one dump returns, the closing DONE included: it too may carry the flag."""
        while True:
            for message in self._receive([kind]):
                if message["header"]["type"] in _ENDS and message["error"]:  # DONE too ends with an error number
                    number = -message["error"]
                    words = _words(message) or os.strerror(number)
                    raise KernelError(f"The kernel refused to list its tables: {words}.", errno=number)
                yield message
                if message["header"]["type"] == netlink.NLMSG_DONE:
                    return

    def _receive(self, classes: Sequence[type[Message]]) -> Iterator[Message]:
        """Yield the messages of the next datagram, decoded; `classes` are those of the requests, by number."""
        datagram, offset = self._socket.recv(RECEIVE), 0
        while offset < len(datagram):
            length, kind, _, number = _HEADER.unpack_from(datagram, offset)
            message = (netlink.nlmsgerr if kind in _ENDS else classes[number])(datagram, offset)
            message.decode()
            yield message
            offset += length + (-length % 4)


def _encoded(request: Message, flags: int, number: int) -> bytes:
    header = request["header"]
    header["flags"] |= netlink.NLM_F_REQUEST | flags
    header["sequence_number"] = number
    request.encode()
    return bytes(request.data)


def _words(end: Message) -> str:
    """Return what the kernel said to explain how a request ended."""
    return str(end.get_attr("NLMSGERR_ATTR_MSG", ""))
