"""Queries the cluster's DNS from a vantage point, and renders answers as text that can be compared.

`A 10.96.0.10`, `CNAME client.example.`, `PTR blue.default.svc.cluster.local.`, `SRV 80 blue.default.svc.cluster.local.`
(priority and weight left out: Kubernetes gives them no meaning).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from time import monotonic

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from netlab.probe.plan.checks import Ask
from netlab.probe.plan.outcome import Outcome
from netlab.probe.run import sockets
from netlab.probe.run.sockets import Exchange
from netlab.probe.run.vantage import Vantage
from netlab.probe.run.wire import dns_key, tcp_key

DNS_PORT = 53


@dataclass
class Answer:
    """A response: its code and what its answer section holds. `authority`: whether it contains an SOA.

    `key` identifies its packets in captures; `truncated` is the server's TC flag: there is more than fits into a datagram.
    """

    exchange: Exchange
    key: str
    code: str = ""
    records: frozenset[str] = frozenset()
    authority: bool = False
    truncated: bool = False


async def ask(vantage: Vantage, question: Ask) -> Answer:
    """Ask one question as a resolver does: if the answer is truncated (TC), repeat it over TCP."""
    if question.protocol == "UDP":
        answer = await _ask_udp(vantage, question)
        if not answer.truncated:
            return answer
    over_tcp = await _ask_tcp(vantage, question)
    if question.protocol == "UDP" and over_tcp.exchange.outcome is not Outcome.ALLOWED:
        exchange = over_tcp.exchange
        exchange.detail = f"the answer over UDP is truncated (TC), and the retry over TCP failed: {exchange.detail}"
    return over_tcp


async def _ask_udp(vantage: Vantage, question: Ask) -> Answer:
    identifier = vantage.keys.identifier() & 0xFFFF
    query = dns.message.make_query(question.name, question.type, id=identifier)
    wire = query.to_wire()
    exchange = await sockets.udp(vantage, (question.server, DNS_PORT), wire)
    return _read(query, exchange, dns_key(wire))


async def _ask_tcp(vantage: Vantage, question: Ask) -> Answer:
    sequence = vantage.keys.sequence()
    query = dns.message.make_query(question.name, question.type, id=sequence & 0xFFFF)
    exchange = await _over_tcp(vantage, question.server, query.to_wire(), sequence)
    return _read(query, exchange, tcp_key(sequence))


def _read(query: dns.message.QueryMessage, exchange: Exchange, key: str) -> Answer:
    """Return a server's response to a query."""
    if exchange.outcome is not Outcome.ALLOWED:
        return Answer(exchange, key)
    try:
        response = dns.message.from_wire(exchange.answer)
    except dns.exception.DNSException as error:
        return Answer(Exchange(Outcome.DNS_FAILED, f"the answer is not a DNS message: {error!r}"), key)
    if not query.is_response(response):
        return Answer(Exchange(Outcome.DNS_FAILED, "the answer belongs to another query"), key)
    truncated = bool(response.flags & dns.flags.TC)
    code = dns.rcode.to_text(response.rcode())
    return Answer(exchange, key, code, records_of(response), _has_authority(response), truncated)


async def _over_tcp(vantage: Vantage, server: str, wire: bytes, sequence: int) -> Exchange:
    """Exchange one message with its two-byte length before it (RFC 1035 4.2.2)."""
    started = monotonic()
    sock = vantage.open_socket(socket.SOCK_STREAM)
    try:
        sockets.choose_sequence(sock, sequence)
        said = await sockets.patiently(_message(sock, server, wire), vantage.timeout)
        if said is None:
            return sockets.done(started, Outcome.RESET, "the server closed the connection before its answer was complete")
        return sockets.done(started, Outcome.ALLOWED, answer=said)
    except TimeoutError:
        return sockets.done(started, Outcome.DROPPED, f"no answer within {vantage.timeout:g} s")
    except OSError as error:
        return sockets.failed(started, error)
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
    """Return the answer section as text."""
    found = set()
    for rrset in response.answer:
        kind = dns.rdatatype.to_text(rrset.rdtype)
        for record in rrset:
            words = record.to_text().split()
            found.add(f"{kind} {' '.join(words[2:] if kind == 'SRV' else words)}")
    return frozenset(found)


def _has_authority(response: dns.message.Message) -> bool:
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)
