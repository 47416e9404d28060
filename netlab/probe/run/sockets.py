"""One exchange from a vantage point: TCP, UDP, ICMP. Returns what happened, never raises for it.

Which errno means what is one table. An errno without a row is a broken probe: NOT_TESTED, never DROPPED.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic
from typing import Any, TypeVar

from netlab.probe.plan.outcome import Outcome
from netlab.probe.run.vantage import BrokenProbeError, Vantage
from netlab.probe.run.wire import MARK

IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_RECVERR = 10, 2, 11
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
TCP_SEND_QUEUE, TCP_REPAIR_OFF_NO_WP = 2, -1
ECHO_REQUEST, ECHO_REPLY = 8, 0
LONGEST_ANSWER = 65535
SLICE_SECONDS = 0.1  # of the tester's own time
MOST_TAKEN = 64  # ports that other sockets may have, one after the other

WORDS = {
    errno.EPERM: "a rule of the sender's node dropped the packet (kernel: Operation not permitted)",
    errno.EACCES: "a route of the sender's host prohibits the packet (kernel: Permission denied)",
    errno.EINVAL: "a blackhole route of the sender's host discarded the packet (kernel: Invalid argument)",
    errno.ENOBUFS: "the sender's kernel has no space left: its neighbor table"
    " (net.ipv4.neigh.default.gc_thresh3, shared by the whole machine) or the queue of a device is full"
    " (kernel: No buffer space available)",
}
OUTCOMES: dict[int, Outcome] = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.EHOSTDOWN: Outcome.UNREACHABLE,
    errno.ENONET: Outcome.UNREACHABLE,
    errno.ECONNRESET: Outcome.RESET,
    errno.EPIPE: Outcome.RESET,
    errno.ECONNABORTED: Outcome.RESET,
    errno.ETIMEDOUT: Outcome.DROPPED,
    errno.EMSGSIZE: Outcome.MTU,
    errno.EPERM: Outcome.DROPPED,  # netfilter's output hook dropped it: sendto and connect return it
    errno.EACCES: Outcome.UNREACHABLE,  # a route or rule of type prohibit
    errno.EINVAL: Outcome.UNREACHABLE,  # a route or rule of type blackhole
    errno.ENOBUFS: Outcome.NO_BUFFERS,
}


@dataclass
class Exchange:
    """The result of one exchange. `answer` is what the other side sent; `connected`: TCP's handshake was completed."""

    outcome: Outcome
    detail: str = ""
    answer: bytes = b""
    milliseconds: float = 0.0
    connected: bool = False


def choose_sequence(sock: socket.socket, sequence: int) -> None:
    """Make a TCP socket's next connection start with this sequence number (the kernel's TCP_REPAIR)."""
    signed = sequence - (1 << 32) if sequence >= 1 << 31 else sequence
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ, signed)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
    except OSError as error:
        raise BrokenProbeError(f"the kernel refused to set the TCP sequence number of the probe: {error}") from error


T = TypeVar("T")


async def patiently(doing: Coroutine[Any, Any, T], seconds: float) -> T:
    """Await something for `seconds` of the tester's own time. Raises TimeoutError.

    The time is counted in slices, and a slice counts as itself however long it took: a machine that had no CPU for the
    tester, or a tester that was busy with other probes, is not a network without an answer.
    """
    task = asyncio.ensure_future(doing)
    try:
        for _ in range(max(1, round(seconds / SLICE_SECONDS))):
            done, _ = await asyncio.wait({task}, timeout=SLICE_SECONDS)
            if done:
                return task.result()
        raise TimeoutError
    finally:
        await _drop(task)


async def _drop(task: asyncio.Future[Any]) -> None:
    """End what no task waits for any more. Its error is read, so that asyncio does not report it as an overlooked one."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


async def tcp(vantage: Vantage, address: tuple[str, int], sequence: int, *, say: bytes, until: bytes) -> Exchange:
    """Connect; send `say`, if any, and read until `until` has come (or the end of the stream)."""
    started = monotonic()
    sock = vantage.open_socket(socket.SOCK_STREAM)
    connected = False
    try:
        choose_sequence(sock, sequence)
        loop = asyncio.get_running_loop()

        async def exchange() -> bytes:
            nonlocal connected
            await loop.sock_connect(sock, address)
            connected = True
            return await _converse(sock, say, until) if say else b""

        answer = await patiently(exchange(), vantage.timeout)
        if say and not answer:
            ended = done(started, Outcome.RESET, "the connection was closed without an answer")
        else:
            ended = done(started, Outcome.ALLOWED, answer=answer)
    except TimeoutError:
        phase = "connected, then no answer" if connected else "no answer to the connection request"
        ended = done(started, Outcome.DROPPED, f"{phase} within {vantage.timeout:g} s")
    except OSError as error:
        ended = failed(started, error)
    finally:
        sock.close()
    return replace(ended, connected=connected)


async def _converse(sock: socket.socket, say: bytes, until: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, say)
    answer = b""
    while until not in answer and len(answer) < LONGEST_ANSWER:
        piece = await loop.sock_recv(sock, 4096)
        if not piece:
            break
        answer += piece
    return answer


async def udp(
    vantage: Vantage,
    address: tuple[str, int],
    say: bytes,
    *,
    fragment: bool = True,
    arrived: asyncio.Future[None] | None = None,
) -> Exchange:
    """Send a datagram from the next port; wait for an answer, or for `arrived` if the server sends none."""
    started = monotonic()
    sock = vantage.open_socket(socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)  # reports "network unreachable", too
        if not fragment:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        _bind(sock, vantage.ports)
        sock.connect(address)
        refusal = _send(sock, say)
        answer = await patiently(_first(sock, arrived), vantage.timeout)
        return done(started, Outcome.ALLOWED, answer=answer)
    except TimeoutError:
        if refusal:
            return failed(started, refusal)
        return done(started, Outcome.DROPPED, f"no answer to the datagram within {vantage.timeout:g} s")
    except OSError as error:
        return failed(started, error)
    finally:
        sock.close()


def _bind(sock: socket.socket, ports: Iterator[int]) -> None:
    """Give a socket the next port that no other socket of its namespace has."""
    for port in islice(ports, MOST_TAKEN):
        try:
            sock.bind(("", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    raise BrokenProbeError(f"other sockets used {MOST_TAKEN} ports in a row")


def _send(sock: socket.socket, say: bytes) -> OSError | None:
    """Send a datagram; return the kernel's EPERM, which may not be its last word.

    A rule of the sender's own node that refuses a datagram (`reject` in netfilter's output hook) does two things: sendto fails
    with EPERM as it does for `drop`, and an ICMP error comes back by the loopback a moment later. Only that shows which it was.
    """
    try:
        sock.send(say)
    except PermissionError as error:
        return error
    return None


async def _first(sock: socket.socket, arrived: asyncio.Future[None] | None) -> bytes:
    """Return the answer, or nothing once `arrived` is done."""
    reading = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(sock, LONGEST_ANSWER))
    awaited: set[asyncio.Future[Any]] = {reading, arrived} if arrived else {reading}
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else b""
    finally:
        await _drop(reading)


async def icmp(vantage: Vantage, address: str, key: str) -> Exchange:
    """Send an echo request and wait for its reply."""
    started = monotonic()
    sock = vantage.open_socket(socket.SOCK_RAW, socket.IPPROTO_ICMP)
    try:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        sock.connect((address, 0))
        sock.send(echo_request(vantage.keys.identifier() & 0xFFFF, MARK + key.encode()))
        await patiently(_echo_reply(sock, key.encode()), vantage.timeout)
        return done(started, Outcome.ALLOWED)
    except TimeoutError:
        return done(started, Outcome.DROPPED, f"no echo reply within {vantage.timeout:g} s")
    except OSError as error:
        return failed(started, error)
    finally:
        sock.close()


async def _echo_reply(sock: socket.socket, key: bytes) -> None:
    """Wait for the reply: a raw socket gets copies of all ICMP from that address."""
    while True:
        packet = await asyncio.get_running_loop().sock_recv(sock, LONGEST_ANSWER)
        if packet[(packet[0] & 0x0F) * 4] == ECHO_REPLY and key in packet:
            return


def echo_request(identifier: int, payload: bytes) -> bytes:
    """Return an ICMP echo request with its checksum (RFC 792)."""
    payload += b"\0" * (len(payload) % 2)
    header = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, identifier, 1)
    total = sum(struct.unpack(f"!{(len(header) + len(payload)) // 2}H", header + payload))
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, ~total & 0xFFFF, identifier, 1) + payload


def done(started: float, outcome: Outcome, detail: str = "", answer: bytes = b"") -> Exchange:
    return Exchange(outcome, detail, answer, (monotonic() - started) * 1000)


def failed(started: float, error: OSError) -> Exchange:
    """Translate the kernel's error of the exchange."""
    outcome = OUTCOMES.get(error.errno or 0)
    if outcome is None:
        raise BrokenProbeError(f"the probe's socket failed: {error}") from error
    return done(started, outcome, WORDS.get(error.errno or 0) or os.strerror(error.errno or 0))
