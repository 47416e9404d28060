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

    `key` is what captures know its packets by.
    """

    exchange: Exchange
    key: str
    code: str = ""
    records: frozenset[str] = frozenset()
    authority: bool = False


async def ask(enter: Enter, namespace: str, question: Ask, *, number: int, ports: Iterator[int], patience: float) -> Answer:
    """Ask one question from a namespace. `number` makes it recognisable: TCP's sequence number, or the message's identifier."""
    query = dns.message.make_query(question.name, question.type, id=number & 0xFFFF)
    wire = query.to_wire()
    started = monotonic()
    if question.protocol == "UDP":
        exchange = await sockets.udp(enter, namespace, (question.server, DNS_PORT), say=wire, ports=ports, patience=patience)
        said, key = exchange.answer, dns_key(wire)
    else:
        exchange, said = await _over_tcp(enter, namespace, question.server, wire=wire, sequence=number, patience=patience)
        key = tcp_key(number)
    exchange.milliseconds = (monotonic() - started) * 1000
    if exchange.outcome is not Outcome.ALLOWED:
        return Answer(exchange, key)
    try:
        response = dns.message.from_wire(said)
    except dns.exception.DNSException as error:
        return Answer(Exchange(Outcome.DNS_FAILED, f"the answer is no DNS message: {error!r}"), key)
    if not query.is_response(response):
        return Answer(Exchange(Outcome.DNS_FAILED, "the answer is to another question"), key)
    return Answer(exchange, key, dns.rcode.to_text(response.rcode()), records_of(response), _has_authority(response))


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
