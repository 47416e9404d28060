"""A netlink socket: batches of requests with an acknowledgement each, and dumps.

Rules:
1. A socket stays in the network namespace it was made in; make it inside (`namespaces.inside`), use it anywhere.
2. Requests go out BATCH to a datagram. The kernel works them off in order before `send` returns and answers each one,
   so the first refused can be named. It does not stop at it: the rest of the same datagram is tried too.
3. A dump that changed under the reader carries a flag, and is read again from the start: its parts do not fit together.
4. The kernel explains a refusal in an extended acknowledgement; those words are kept beside the error number.
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
from netlab.kernel import wire

BATCH = 50  # messages per datagram: machine.md's measure; their answers fit any receive buffer
RECEIVE = 1 << 16
DUMP_ATTEMPTS = 20
_SOL_NETLINK = 270
_CAPPED_ACK = 10  # an error does not repeat the request
_EXTENDED_ACK = 11  # ... but brings words
_STRICT_CHECK = 12  # a dump honours the filter in its request
_ERRNO = struct.Struct("=i")
_ERROR_FIXED = _ERRNO.size + wire.HEADER.size


@dataclass(frozen=True)
class Answer:
    """How one request ended: errno (0: done) and the kernel's words, if it had any; `messages` are what it returned."""

    errno: int
    words: str = ""
    messages: tuple[wire.Received, ...] = ()


class Netlink:
    """A netlink socket of one protocol (NETLINK_ROUTE, NETLINK_NETFILTER) in the namespace it was made in."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        for option in (_CAPPED_ACK, _EXTENDED_ACK, _STRICT_CHECK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()

    def transact(self, requests: Sequence[wire.Message]) -> list[Answer]:
        """Send one batch of requests and return an answer to each, in order."""
        first = self._sequence + 1
        self._sequence += len(requests)
        parts = (wire.Message(r.type, r.flags | wire.ACK, r.body).encode(first + i) for i, r in enumerate(requests))
        self._socket.send(b"".join(parts))
        answers: dict[int, Answer] = {}
        returned: dict[int, list[wire.Received]] = {}
        while len(answers) < len(requests):
            for message in wire.messages(self._socket.recv(RECEIVE)):
                if message.type == wire.ERROR:
                    errno, words = _refusal(message)
                    answers[message.sequence] = Answer(errno, words, tuple(returned.get(message.sequence, ())))
                else:
                    returned.setdefault(message.sequence, []).append(message)
        return [answers[first + i] for i in range(len(requests))]

    def dump(self, request: wire.Message) -> list[wire.Received]:
        """Return everything a dump request yields, consistent in itself."""
        for _ in range(DUMP_ATTEMPTS):
            received = list(self._dump_once(request))
            if not any(message.flags & wire.DUMP_INTERRUPTED for message in received):
                return [message for message in received if message.type != wire.DONE]
        message = f"The kernel's tables changed during each of {DUMP_ATTEMPTS} attempts to read them."
        raise KernelError(message, remedy="Something changes this namespace all the time; stop it and try again.")

    def _dump_once(self, request: wire.Message) -> Iterator[wire.Received]:
        """Yield what one dump returns, the closing DONE included: it too may carry the flag."""
        self._sequence += 1
        self._socket.send(wire.Message(request.type, request.flags | wire.DUMP, request.body).encode(self._sequence))
        while True:
            for message in wire.messages(self._socket.recv(RECEIVE)):
                if message.sequence != self._sequence:
                    continue
                if message.type in {wire.ERROR, wire.DONE}:  # DONE too ends with an error number
                    number, words = _refusal(message)
                    if number:
                        raise KernelError(f"The kernel refused to list its tables: {words or os.strerror(number)}.", errno=number)
                yield message
                if message.type == wire.DONE:
                    return


def _refusal(message: wire.Received) -> tuple[int, str]:
    """Return the error number and the kernel's words of an acknowledgement."""
    (negative,) = _ERRNO.unpack_from(message.body) if len(message.body) >= _ERRNO.size else (0,)
    if not message.flags & wire.ACK_TLVS:
        return -negative, ""
    words = wire.attributes(message.body, _ERROR_FIXED).get(wire.ERROR_MESSAGE, b"")
    return -negative, wire.as_text(words)
