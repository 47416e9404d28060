"""A netlink socket's conversation, scripted: batches and their acknowledgements, dumps and their ends."""

from __future__ import annotations

import errno
import struct

import pytest

from netlab.errors import KernelError
from netlab.kernel.codecs import NETLINK_ROUTE, ifaddrmsg, netlink, request, rtnl
from netlab.kernel.netlink import DUMP_ATTEMPTS, Netlink, question, whole

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
ERROR, DONE = 2, 3
INTERRUPTED, WORDS = 0x10, 0x200
QUESTION = question(request(ifaddrmsg, rtnl.RTM_GETADDR, 0, family=2), whole(ifaddrmsg))


class Script:
    """A socket that answers with the datagrams given, and keeps what is sent."""

    def __init__(self, *datagrams: bytes) -> None:
        self.datagrams = list(datagrams)
        self.sent: list[bytes] = []

    def send(self, datagram: bytes) -> int:
        self.sent.append(datagram)
        return len(datagram)

    def recv(self, _: int) -> bytes:
        return self.datagrams.pop(0)

    def close(self) -> None:
        """Do nothing: it is not open."""


def talk(*datagrams: bytes) -> tuple[Netlink, Script]:
    """Return a netlink socket whose other end follows a script."""
    with Netlink(NETLINK_ROUTE) as talker:  # closes the socket that is not needed
        pass
    script = Script(*datagrams)
    talker._socket = script  # type: ignore[assignment]
    return talker, script


def message(kind: int, number: int, body: bytes, flags: int = 0) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, number, 0) + body + bytes(-len(body) % 4)


def address(index: int, number: int = 0, flags: int = 0) -> bytes:
    """Return an address as the kernel lists it."""
    return message(rtnl.RTM_NEWADDR, number, struct.pack("=BBBBI", 2, 24, 0, 0, index), flags)


def end(number: int, error: int = 0, words: bytes = b"") -> bytes:
    """Return how a request ended: refusals repeat the request, and may have words."""
    repeated = address(1, number)
    body = struct.pack("=i", -error) + (repeated if error else repeated[: HEADER.size])
    if words:
        body += struct.pack("=HH", 4 + len(words) + 1, 1) + words + b"\0"
    return message(ERROR, number, body, WORDS if words else 0)


def done(error: int = 0, words: bytes = b"", flags: int = 0) -> bytes:
    """Return the last message of a dump."""
    body = struct.pack("=i", -error)
    if words:
        body += struct.pack("=HH", 4 + len(words) + 1, 1) + words + b"\0"
    return message(DONE, 0, body, flags | (WORDS if words else 0))


BATCHES = [
    pytest.param([end(0) + end(1)], [(0, "", 0), (0, "", 0)], id="done"),
    pytest.param([end(0), end(1)], [(0, "", 0), (0, "", 0)], id="a datagram each"),
    pytest.param([end(1) + end(0, errno.EEXIST)], [(errno.EEXIST, "", 0), (0, "", 0)], id="out of order"),
    pytest.param(
        [end(0, errno.EINVAL, b"No such thing") + end(1)],
        [(errno.EINVAL, "No such thing", 0), (0, "", 0)],
        id="refused with words of odd length",
    ),
    pytest.param([address(7, 1) + end(0), end(1)], [(0, "", 0), (0, "", 1)], id="a request that returns something"),
]


@pytest.mark.parametrize(("datagrams", "expected"), BATCHES)
def test_every_request_of_a_batch_has_its_answer(datagrams: list[bytes], expected: list[tuple[int, str, int]]):
    """Answers are in the order of the requests, however they came, with error numbers and the kernel's words."""
    talker, script = talk(*datagrams)
    answers = talker.transact([request(ifaddrmsg, rtnl.RTM_NEWADDR, 0, index=7) for _ in range(2)])

    assert expected == [(answer.errno, answer.words, len(answer.messages)) for answer in answers]
    assert 1 == len(script.sent)


def test_a_batch_is_one_datagram_of_numbered_requests():
    """Each request asks for an acknowledgement and carries its place in the batch."""
    talker, script = talk(end(0) + end(1))
    talker.transact([request(ifaddrmsg, rtnl.RTM_NEWADDR, netlink.NLM_F_CREATE, index=7) for _ in range(2)])
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_ACK | netlink.NLM_F_CREATE
    first, second = (HEADER.unpack_from(script.sent[0], offset) for offset in (0, 24))

    assert [(24, 20, flags, 0, 0), (24, 20, flags, 1, 0)] == [first, second]


DUMPS = [
    pytest.param([done()], [], 1, id="nothing"),
    pytest.param([address(7) + address(8), done()], [7, 8], 1, id="two"),
    pytest.param([address(7), address(8) + done()], [7, 8], 1, id="two datagrams"),
    pytest.param([address(7, flags=INTERRUPTED), done(), address(8), done()], [8], 2, id="changed while it was read"),
    pytest.param([address(7), done(flags=INTERRUPTED), address(8), done()], [8], 2, id="changed at its end"),
]


@pytest.mark.parametrize(("datagrams", "indices", "asked"), DUMPS)
def test_a_dump_is_consistent(datagrams: list[bytes], indices: list[int], asked: int):
    """What changed under the reader is read again from the start."""
    talker, script = talk(*datagrams)
    received = talker.dump(QUESTION)

    assert indices == [message["index"] for message in received]
    assert [QUESTION.encoded] * asked == script.sent


REFUSED = [
    pytest.param([done(errno.EINVAL, b"Unsupported flags")], errno.EINVAL, "Unsupported flags", id="at the end, with words"),
    pytest.param([address(7), done(errno.ENOMEM)], errno.ENOMEM, "Cannot allocate memory", id="at the end, without words"),
    pytest.param([end(0, errno.EOPNOTSUPP)], errno.EOPNOTSUPP, "Operation not supported", id="at once"),
    pytest.param([done(flags=INTERRUPTED)] * DUMP_ATTEMPTS, 0, "changed during each", id="changing all the time"),
]


@pytest.mark.parametrize(("datagrams", "number", "words"), REFUSED)
def test_a_dump_that_fails_says_why(datagrams: list[bytes], number: int, words: str):
    """Error numbers come in an error or in the last message, with words or without."""
    talker, _ = talk(*datagrams)
    with pytest.raises(KernelError, match=words) as caught:
        talker.dump(QUESTION)

    assert number == caught.value.errno
