"""Queries another DNS server of the lab, on behalf of a pod or host.

One question at a time: over UDP, over TCP when the answer is truncated. A server that does not answer in time, or answers
SERVFAIL or REFUSED, is passed over; the next is asked. The time for all servers is less than the five seconds after which a
resolver asks again.
"""

from __future__ import annotations

import contextlib
import logging

import dns.asyncquery
import dns.exception
import dns.message
import dns.rcode

from netlab.dns.answers import Forward

log = logging.getLogger("netlab.dns")
PORT = 53
ANSWER_SECONDS = 1.5  # for one server
PAYLOAD = 1232  # bytes of a datagram that no path of a lab fragments
UNHELPFUL = frozenset({dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP})


async def ask(forward: Forward, *, port: int = PORT, seconds: float = ANSWER_SECONDS) -> dns.message.Message | None:
    """Return the first helpful answer, None when no server has one."""
    for server in forward.servers:
        query = dns.message.make_query(forward.name, forward.kind, use_edns=0, payload=PAYLOAD)
        with contextlib.suppress(OSError, EOFError, dns.exception.DNSException):
            reply, _ = await dns.asyncquery.udp_with_fallback(query, server, seconds, port, ignore_unexpected=True)
            if reply.rcode() not in UNHELPFUL:
                return reply
        log.debug("upstream=passed-over server=%s name=%s", server, forward.name)
    return None
