"""Asking the cluster's DNS from inside a namespace, and writing an answer down in words that can be compared.

`A 10.96.0.10`, `CNAME client.example.`, `PTR blue.default.svc.cluster.local.`, `SRV 80 blue.default.svc.cluster.local.`
(priority and weight left out: Kubernetes gives them no meaning).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from netlab.probe import sockets
from netlab.probe.checks import Ask
from netlab.probe.outcome import Outcome
from netlab.probe.sockets import Exchange
from netlab.probe.stamps import Enter
from netlab.probe.wire import dns_key, tcp_key

DNS_PORT = 53


@dataclass
class Answer:
    """A response: its code and what its answer section holds. `authority` tells whether an SOA came along.

    `key` is what captures know its packets by; `truncated` the server's TC flag: there is more than fits into a datagram.
    """

    exchange: Exchange
    key: str
    code: str = ""
    records: frozenset[str] = frozenset()
    authority: bool = False
    truncated: bool = False


async def ask(
    enter: Enter,
    namespace: str,
    question: Ask,
    *,
    identifier: int,
    sequence: int,
    ports: Iterator[int],
    patience: float,
) -> Answer:
    """Ask one question from a namespace, as a resolver does: an answer cut short (TC) is asked for again over TCP.

    `identifier` and `sequence` make the packets recognizable: the identifier of a DNS message over UDP, the initial sequence
    number of a TCP connection.
    """
    if question.protocol == "UDP":
        answer = await _ask_udp(enter, namespace, question, identifier=identifier, ports=ports, patience=patience)
        if not answer.truncated:
            return answer
    over_tcp = await _ask_tcp(enter, namespace, question, sequence=sequence, patience=patience)
    if question.protocol == "UDP" and over_tcp.exchange.outcome is not Outcome.ALLOWED:
        exchange = over_tcp.exchange
        exchange.detail = f"the answer over UDP is truncated (TC), and the repetition over TCP failed: {exchange.detail}"
    return over_tcp


async def _ask_udp(
    enter: Enter, namespace: str, question: Ask, *, identifier: int, ports: Iterator[int], patience: float
) -> Answer:
    query = dns.message.make_query(question.name, question.type, id=identifier & 0xFFFF)
    wire = query.to_wire()
    started = monotonic()
    exchange = await sockets.udp(enter, namespace, (question.server, DNS_PORT), say=wire, ports=ports, patience=patience)
    exchange.milliseconds = (monotonic() - started) * 1000
    return _read(query, exchange, exchange.answer, dns_key(wire))


async def _ask_tcp(enter: Enter, namespace: str, question: Ask, *, sequence: int, patience: float) -> Answer:
    query = dns.message.make_query(question.name, question.type, id=sequence & 0xFFFF)
    wire = query.to_wire()
    exchange, said = await _over_tcp(enter, namespace, question.server, wire=wire, sequence=sequence, patience=patience)
    return _read(query, exchange, said, tcp_key(sequence))


def _read(query: dns.message.QueryMessage, exchange: Exchange, said: bytes, key: str) -> Answer:
    """Return what a server said to a query."""
    if exchange.outcome is not Outcome.ALLOWED:
        return Answer(exchange, key)
    try:
        response = dns.message.from_wire(said)
    except dns.exception.DNSException as error:
        return Answer(Exchange(Outcome.DNS_FAILED, f"the answer is no DNS message: {error!r}"), key)
    if not query.is_response(response):
        return Answer(Exchange(Outcome.DNS_FAILED, "the answer is to another question"), key)
    truncated = bool(response.flags & dns.flags.TC)
    code = dns.rcode.to_text(response.rcode())
    return Answer(exchange, key, code, records_of(response), _has_authority(response), truncated)


async def _over_tcp(
    enter: Enter, namespace: str, server: str, *, wire: bytes, sequence: int, patience: float
) -> tuple[Exchange, bytes]:
    """Exchange one message with its two-byte length before it (RFC 1035 4.2.2)."""
    started = monotonic()
    sock = sockets.make(enter, namespace, socket.SOCK_STREAM)
    try:
        sockets.choose_sequence(sock, sequence)
        said = await sockets.patiently(_message(sock, server, wire), patience)
        if said is None:
            return sockets.done(started, Outcome.RESET, "the server closed before its answer was complete"), b""
        return sockets.done(started, Outcome.ALLOWED), said
    except TimeoutError:
        return sockets.done(started, Outcome.DROPPED, f"no answer within {patience:g} s"), b""
    except OSError as error:
        return sockets.failed(started, error), b""
    finally:
        sock.close()


async def _message(sock: socket.socket, server: str, wire: bytes) -> bytes | None:
    """Connect, ask, read the whole answer; None when the server closed in the middle."""
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (server, DNS_PORT))
    await loop.sock_sendall(sock, struct.pack("!H", len(wire)) + wire)
    said = b""
    while len(said) < 2 or len(said) < 2 + struct.unpack("!H", said[:2])[0]:
        piece = await loop.sock_recv(sock, 65535)
        if not piece:
            return None
        said += piece
    return said[2:]


def records_of(response: dns.message.Message) -> frozenset[str]:
    """Return the answer section in words."""
    found = set()
    for rrset in response.answer:
        kind = dns.rdatatype.to_text(rrset.rdtype)
        for record in rrset:
            words = record.to_text().split()
            found.add(f"{kind} {' '.join(words[2:] if kind == 'SRV' else words)}")
    return frozenset(found)


def _has_authority(response: dns.message.Message) -> bool:
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)
