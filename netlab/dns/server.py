"""The DNS server of a node: UDP and TCP on one address, answers kept in wire form.

How it works. A question's bytes after its id, up to and including the fixed part of an EDNS record, decide the answer, so
they are the key of a table of finished responses; answering again is a look-up and a copy with the new id in front. What
the table does not contain goes through dnspython: parse, `Zone.answer`, render. The table is emptied when the zone changes,
and when it has grown to its limit (random names must not fill the memory). A response with several addresses is kept in
several orders and used in turn (semantics 11.27).

Rules.
- Nothing sent to us is an exception: what is too short or is itself a response gets silence, what cannot be read FORMERR,
  another operation than a query NOTIMP, another class than IN and zone transfers REFUSED (11.17).
- A question whose answer raises an exception gets SERVFAIL, and the others continue.
- Without a zone, as long as the API has not been read, the answer is SERVFAIL, which makes a resolver ask again (11.17).
- UDP answers fit into what the asker can take: 512 bytes, or its EDNS size up to 4096; a set of records that does not fit is
  shortened and TC set, and the same question over TCP gets all of it (11.26).
- What other servers decide (`spec.dns`) is asked of them each time and not kept, `DnsLimits.forwarded` questions by datagram
  at once; the next gets SERVFAIL. No other question waits for them.
- TCP takes several questions one after the other or at once, answers in order, hangs up after ten idle seconds (also in
  the middle of a question, and on a client that does not read), and after each answer lets UDP and other clients have
  their turn. Of `DnsLimits.connections` one client may have `per_client`; where a bound is reached, a new connection takes
  the place of the one that has been idle longest (`netlab.serving.roster`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import dns.message

from netlab.containment import Contained, describe
from netlab.dns.answers import Forward
from netlab.dns.messages import Pending, Response, failure, respond_to
from netlab.dns.upstream import ask
from netlab.dns.zone import Zone
from netlab.serving.descriptors import room
from netlab.serving.listener import Listener
from netlab.serving.roster import Limits, Roster, Seat
from netlab.serving.streams import streams

log = logging.getLogger("netlab.dns")
LARGEST_DATAGRAM = 65535
READS_PER_TURN = 64  # datagrams taken before the event loop gets its turn again
MOST_ANSWERS = 8192  # responses kept
RECEIVE_BUFFER = 1 << 20
OPT_START = b"\0\0\x29"  # an EDNS record: the root name, type 41
Ask = Callable[[Forward], Awaitable[dns.message.Message | None]]


@dataclass(frozen=True)
class DnsLimits:
    """How much of a server its clients may use at once, and how many seconds a TCP client may be idle."""

    connections: int = 256
    per_client: int = 16
    forwarded: int = 256
    idle_seconds: float = 10.0


LIMITS = DnsLimits()


def cache_key(message: bytes) -> bytes | None:
    """Return the part of a plain query that decides its answer, None when the query is not a plain one.

    Plain: one question and at most an EDNS record, nothing after. The options in that record (cookies) change from
    query to query and do not change our answer.
    """
    if message[4:6] != b"\0\1" or message[6:11] != b"\0\0\0\0\0":
        return None
    end = message.find(0, 12) + 5  # past the root label, type and class
    if end < 17:
        return None
    rest = message[end:]
    if message[11] == 0:
        return None if rest else message[2:]
    if message[11] != 1 or rest[:3] != OPT_START or len(rest) < 11 or len(rest) != 11 + int.from_bytes(rest[9:11], "big"):
        return None
    return message[2 : end + 9]


@dataclass
class Kept:
    """The responses to one question, without their ids: one per order of its addresses, made when its turn first comes."""

    rotations: int
    responses: list[bytes]
    turn: int = 0

    def next_turn(self) -> int:
        """Return the number of the order that is due."""
        self.turn = (self.turn + 1) % self.rotations
        return self.turn


class Responder:
    """Bytes in, bytes out: the table of finished responses before the zone."""

    def __init__(self, zone_supplier: Callable[[], Zone | None], most_answers: int = MOST_ANSWERS) -> None:
        self._supplier = zone_supplier
        self._most_answers = most_answers
        self._zone: Zone | None = None
        self._answers: dict[tuple[bytes, bool], Kept] = {}
        self._has_failed = False

    def update(self, zone: Zone | None) -> None:
        """Answer from another zone from now on; None asks the supplier again."""
        if zone is self._zone:
            return  # nothing changed: what is kept is still right
        self._zone = zone
        self._answers.clear()
        self._has_failed = False

    def failed(self, error: Exception) -> None:
        """Log the first question of a zone whose answer could not be computed; there may be thousands."""
        if not self._has_failed:
            log.warning("question=failed error=%r", describe(error), exc_info=error)
        self._has_failed = True

    def answer(self, message: bytes, *, stream: bool = False) -> bytes | Pending | None:
        """Return the response to a message, or what other servers must be asked for it; None for silence.

        `stream`: over TCP, where size does not matter.
        """
        key = cache_key(message)
        kept = None if key is None else self._answers.get((key, stream))
        turn = 0 if kept is None else kept.next_turn()
        if kept is not None and turn < len(kept.responses):
            return message[:2] + kept.responses[turn]
        if self._zone is None:
            self._zone = self._supplier()
        response: Response | None = None
        with Contained() as attempt:
            response = respond_to(message, self._zone, rotation=turn, stream=stream)
        if attempt.error:
            self.failed(attempt.error)
            return failure(message).wire
        if response is None:
            return None
        if response.pending:
            return response.pending
        if kept is not None:
            kept.responses.append(response.wire[2:])
        elif key is not None and self._zone is not None:
            if len(self._answers) >= self._most_answers:
                self._answers.clear()
            self._answers[key, stream] = Kept(response.rotations, [response.wire[2:]])
        return response.wire


class DnsServer:
    """A DNS server on one address, UDP and TCP.

    Usage: `server = DnsServer(lambda: None)`; `await server.start("172.30.1.1")` in the node's namespace;
    `server.update(zone)` whenever the objects have changed; `await server.close()`.
    """

    def __init__(
        self, zone_supplier: Callable[[], Zone | None] = lambda: None, limits: DnsLimits = LIMITS, ask_others: Ask = ask
    ) -> None:
        self._responder = Responder(zone_supplier)
        self._limits = limits
        self._ask_others = ask_others
        self._datagrams: socket.socket | None = None
        self._streams: Listener | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._forwarded: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port listened on (for tests, which ask for port 0)."""
        return int(self._datagrams.getsockname()[1]) if self._datagrams else 0

    async def start(self, address: str, port: int = 53) -> None:
        """Listen. Raises OSError when the address is not there or the port is taken."""
        listening = socket.create_server((address, port))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(listening.getsockname())
        except OSError:
            datagrams.close()
            listening.close()
            raise
        datagrams.setblocking(False)
        datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._datagrams = datagrams
        asyncio.get_running_loop().add_reader(datagrams, self._read_datagrams, datagrams)
        total = room(self._limits.connections)
        own = min(self._limits.per_client, total)
        seconds = 4 * self._limits.idle_seconds
        roster = Roster(Limits(total, own, own, stranger_seconds=seconds, idle_seconds=seconds))
        self._streams = Listener("dns", listening, streams(self._accepted), roster)
        log.info("dns=listening address=%s port=%d", address, self.port)

    def update(self, zone: Zone | None) -> None:
        """Answer from this zone from now on. With None the server asks its supplier, and answers SERVFAIL until there is one."""
        self._responder.update(zone)

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._datagrams:
            asyncio.get_running_loop().remove_reader(self._datagrams)
            self._datagrams.close()
            self._datagrams = None
        if self._streams:
            self._streams.close()
            tasks = (*self._connections, *self._forwarded)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._streams = None

    def _read_datagrams(self, datagrams: socket.socket) -> None:
        """Take what has arrived, a bounded number at once: cheaper than one turn of the event loop for each."""
        for _ in range(READS_PER_TURN):
            try:
                message, sender = datagrams.recvfrom(LARGEST_DATAGRAM)
                response = self._responder.answer(message)
                if isinstance(response, Pending):
                    response = self._forward(datagrams, message, response, sender)
                if response:
                    datagrams.sendto(response, sender)
            except BlockingIOError:
                return  # nothing more to read, or no room to send: UDP may lose a datagram
            except OSError as error:  # of an earlier datagram: its receiver is gone or unreachable
                log.debug("datagram=lost error=%s", error)

    def _forward(self, datagrams: socket.socket, message: bytes, pending: Pending, sender: Any) -> bytes | None:
        """Have a datagram answered once other servers have; return SERVFAIL when too many wait for that."""
        if len(self._forwarded) >= self._limits.forwarded:
            return failure(message).wire
        task = asyncio.get_running_loop().create_task(self._answer_later(datagrams, message, pending, sender))
        self._forwarded.add(task)
        task.add_done_callback(self._forwarded.discard)
        return None

    async def _answer_later(self, datagrams: socket.socket, message: bytes, pending: Pending, sender: Any) -> None:
        response = await self._asked(message, pending)
        try:
            datagrams.sendto(response, sender)
        except OSError as error:  # no room to send, or its receiver is gone
            log.debug("datagram=lost error=%s", error)

    async def _asked(self, message: bytes, pending: Pending) -> bytes:
        """Return the response that other servers decide."""
        response = failure(message).wire
        with Contained() as attempt:
            response = pending.finish(await self._ask_others(pending.forward))
        if attempt.error:
            self._responder.failed(attempt.error)
        return response

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served outside a task")
        self._connections.add(task)
        try:
            await self._serve(reader, writer, seat)
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            pass  # the client hung up, or has been silent for too long
        finally:
            self._connections.discard(task)
            _hang_up(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seat: Seat) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            async with asyncio.timeout(self._limits.idle_seconds):
                length = int.from_bytes(await reader.readexactly(2), "big")
                message = await reader.readexactly(length)
            seat.touch(clock())
            response = self._responder.answer(message, stream=True)
            if response is None:
                return  # over TCP, silence is to hang up
            if isinstance(response, Pending):
                response = await self._asked(message, response)
            writer.write(len(response).to_bytes(2, "big") + response)
            async with asyncio.timeout(self._limits.idle_seconds):
                await writer.drain()
            await asyncio.sleep(0)  # questions sent at once do not keep others waiting


def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close; what a client has not taken in time it does not get."""
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()
    else:
        writer.close()
