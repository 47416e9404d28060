"""Turns a DNS message into the finished response. No effects.

The wire format is dnspython's. What is decided here is how a message that is not an ordinary query is answered, and how an
answer is fitted into a datagram.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
from dns.rdatatype import RdataType

from netlab.dns.answers import LARGEST_MESSAGE, Answer, Forward
from netlab.dns.bulk import BulkSet, whole_records
from netlab.dns.zone import Zone

HEADER = 12
RESPONSE_BIT = 0x80  # in the third byte: QR
SMALLEST_PAYLOAD = 512  # what every asker can take (RFC 1035)
LARGEST_PAYLOAD = 4096  # what we send at most in one datagram, and take
TRANSFERS = frozenset({RdataType.AXFR, RdataType.IXFR})
NO_UPSTREAM = "a lab has no upstream DNS; every server resolves its host names, only kube-dns resolves the cluster domain"
NO_ANSWER = "no DNS server of the lab's spec.dns answered"


@dataclass(frozen=True)
class Response:
    """A finished response, and in how many orders its addresses may be given (semantics 11.27)."""

    wire: bytes
    rotations: int = 1
    pending: Pending | None = None


@dataclass(frozen=True)
class Pending:
    """A response that other servers decide: what to ask them, and what to put around their answer."""

    forward: Forward
    query: dns.message.Message
    answer: Answer
    room: int

    def finish(self, reply: dns.message.Message | None) -> bytes:
        """Return the response, with what another server answered; None: none did."""
        if reply is None:
            return _render(self.query, self.answer, self.room, NO_ANSWER)
        answers = (*self.answer.answers, *reply.answer)
        answer = replace(self.answer, rcode=reply.rcode(), answers=answers, authority=tuple(reply.authority))
        return _render(self.query, answer, self.room)


def respond_to(message: bytes, zone: Zone | None, *, rotation: int = 0, stream: bool = False) -> Response | None:
    """Return the response to a message, with its addresses in that order; None where silence is due."""
    if len(message) < HEADER or message[2] & RESPONSE_BIT:
        return None
    query = _parsed(message)
    if isinstance(query, dns.rcode.Rcode):
        return Response(_header_only(message, query))
    question = query.question[0]
    room = LARGEST_MESSAGE if stream else min(max(query.payload, SMALLEST_PAYLOAD), LARGEST_PAYLOAD)
    if (refusal := _refusal(query)) is not None:
        answer = Answer(refusal, authoritative=False)
    elif zone is None:
        answer = Answer(dns.rcode.SERVFAIL, authoritative=False)
    else:
        answer = zone.answer(question.name, question.rdtype, rotation, room)
    if answer.forward:
        return Response(b"", pending=Pending(answer.forward, query, answer, room))
    return Response(_render(query, answer, room, NO_UPSTREAM if answer.foreign else ""), answer.rotations)


def failure(message: bytes) -> Response:
    """Return SERVFAIL, for a message whose answer could not be computed."""
    return Response(_header_only(message, dns.rcode.SERVFAIL))


def _parsed(message: bytes) -> dns.message.Message | dns.rcode.Rcode:
    """Read a query with one question, or return the code for why it cannot be read."""
    if message[2] >> 3 & 0xF != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    try:
        query = dns.message.from_wire(message)
    except (dns.exception.DNSException, ValueError):
        return dns.rcode.FORMERR
    return query if len(query.question) == 1 else dns.rcode.FORMERR


def _refusal(query: dns.message.Message) -> dns.rcode.Rcode | None:
    """Return the code for a query that no zone is asked about."""
    question = query.question[0]
    if query.edns > 0:
        return dns.rcode.BADVERS
    if question.rdclass != dns.rdataclass.IN or question.rdtype in TRANSFERS:
        return dns.rcode.REFUSED
    return None


def _header_only(message: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """Return a response without sections: the only answer to a message whose body was not understood."""
    kept = message[2] & 0x79  # opcode and RD
    return message[:2] + bytes((RESPONSE_BIT | kept, rcode)) + bytes(8)


def _render(query: dns.message.Message, answer: Answer, room: int, why: str = "") -> bytes:
    """Write a response; `why` is the text of an extended error, for clients that accept one."""
    response = dns.message.make_response(query, our_payload=LARGEST_PAYLOAD)
    if query.edns >= 0:
        because = dns.edns.EDEOption(dns.edns.EDECode.NO_REACHABLE_AUTHORITY, why)
        options: list[dns.edns.Option] = [because] if why else []
        response.use_edns(0, query.ednsflags & dns.flags.DO, LARGEST_PAYLOAD, options=options)
    response.set_rcode(answer.rcode)
    if answer.authoritative:
        response.flags |= dns.flags.AA
    response.answer = list(answer.answers)
    response.authority = list(answer.authority)
    response.additional = list(answer.additional)
    return _fit(response, room)


def _to_wire(response: dns.message.Message, size: int) -> bytes:
    """Render; what does not fit is left out set by set, with TC unless only additional records are missing."""
    return response.to_wire(max_size=size, prefer_truncation=True, want_shuffle=False)


def _fit(response: dns.message.Message, size: int) -> bytes:
    """Render into `size` bytes; of a last set that is too large keep as many records as fit: not all clients use TCP."""
    wire = _to_wire(response, size)
    if not _is_truncated(wire) or not response.answer:
        return wire
    *before, last = response.answer
    response.authority, response.additional = [], []
    response.flags |= dns.flags.TC
    response.answer = before
    wire = _to_wire(response, size)
    count = whole_records(last.records, size - len(wire)) if isinstance(last, BulkSet) else 0
    while isinstance(last, BulkSet) and count:
        response.answer = [*before, last.first(count)]
        wire = _to_wire(response, size)
        if int.from_bytes(wire[6:8], "big") == sum(map(len, response.answer)):
            break
        count -= 1  # the owner's name is not compressed, as behind an alias
    return wire


def _is_truncated(wire: bytes) -> bool:
    return bool(wire[2] & (dns.flags.TC >> 8))
