"""What can become of a packet, in words: the vocabulary of every check, verdict and rendering.

An outcome says what happened to the traffic. Whether that is good is the verdict's business: REFUSED is what a Service
without endpoints should answer. NOT_TESTED is apart from all others: the probe itself broke, nothing is known.
"""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """The word, its one-character symbol for grids, and a sentence about it."""

    ALLOWED = ("ALLOWED", ".", "the exchange succeeded")
    REFUSED = ("REFUSED", "R", "somebody answered with a TCP reset or an ICMP port unreachable")
    DROPPED = ("DROPPED", "X", "no answer came until the timeout")
    UNREACHABLE = ("UNREACHABLE", "U", "a router answered that there is no way to the address")
    RESET = ("RESET", "r", "the connection was made and then cut")
    DNS_FAILED = ("DNS_FAILED", "D", "the name was not answered as it should be")
    WRONG_BACKEND = ("WRONG_BACKEND", "B", "other backends answered than those that must")
    WRONG_SOURCE = ("WRONG_SOURCE", "S", "the server saw another source address than it must")
    NOT_ENCAPSULATED = ("NOT_ENCAPSULATED", "E", "the packet crossed the underlay without the VXLAN header it must have")
    MTU = ("MTU", "M", "the datagram was too big for the path and must not be fragmented")
    NO_BUFFERS = ("NO_BUFFERS", "N", "the sender's kernel had no room for the packet")
    NOT_TESTED = ("NOT_TESTED", "?", "the probe itself failed: nothing is known")

    def __init__(self, word: str, symbol: str, summary: str) -> None:
        self.word = word
        self.symbol = symbol
        self.summary = summary
