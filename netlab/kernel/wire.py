"""Netlink's format: a header, a fixed part, then attributes of (length, type, value), padded to four bytes.

The kernel's own structs, packed with `struct`, and nothing more. Why not pyroute2: importing its encoders takes 300 ms and
27 MB (163 modules), and a lab is to be up in 1.5 s with all its processes below 150 MB; the few messages we need are the
two hundred lines of this module and `rtnetlink`. The tests decode them with pyroute2, as a second opinion.
Integers are in the machine's order but for ports and ctnetlink's, which are in the network's.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

# ---- headers: include/uapi/linux/netlink.h
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
ERROR = 2
DONE = 3

REQUEST = 0x1
ACK = 0x4
DUMP = 0x300
DUMP_INTERRUPTED = 0x10
REPLACE = 0x100
EXCLUSIVE = 0x200
CREATE = 0x400
ACK_TLVS = 0x200  # an acknowledgement carries the kernel's own words

_ATTRIBUTE = struct.Struct("=HH")
NESTED = 0x8000
_TYPE_MASK = 0x3FFF
ERROR_MESSAGE = 1  # NLMSGERR_ATTR_MSG


@dataclass(frozen=True)
class Message:
    """One request: its type, flags and everything after the header."""

    type: int
    flags: int
    body: bytes

    def encode(self, sequence: int) -> bytes:
        """Return the message as it is sent, padded so that another can follow."""
        length = HEADER.size + len(self.body)
        header = HEADER.pack(length, self.type, self.flags | REQUEST, sequence, 0)
        return header + self.body + bytes(-length % 4)


@dataclass(frozen=True)
class Received:
    """One message of the kernel."""

    type: int
    flags: int
    sequence: int
    body: bytes


def messages(datagram: bytes) -> Iterator[Received]:
    """Split what was received into messages."""
    offset = 0
    while offset + HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = HEADER.unpack_from(datagram, offset)
        if length < HEADER.size:
            return
        yield Received(kind, flags, sequence, datagram[offset + HEADER.size : offset + length])
        offset += length + (-length % 4)


# ---- attributes
def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return a text attribute, with C's closing zero."""
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    """Return an attribute of one byte."""
    return attribute(kind, struct.pack("=B", value))


def u16_network(kind: int, value: int) -> bytes:
    """Return an attribute of two bytes in network order: a port."""
    return attribute(kind, struct.pack("!H", value))


def u32(kind: int, value: int) -> bytes:
    """Return an attribute of four bytes."""
    return attribute(kind, struct.pack("=I", value))


def ipv4(kind: int, address: str) -> bytes:
    """Return an IPv4 address as attribute."""
    return attribute(kind, IPv4Address(address).packed)


def mac(kind: int, address: str) -> bytes:
    """Return a MAC address as attribute."""
    return attribute(kind, bytes.fromhex(address.replace(":", "")))


def attributes(body: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return the attributes after a fixed part of `offset` bytes, by type; of a repeated one the last."""
    found = {}
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += length + (-length % 4)
    return found


Attributes = Mapping[int, bytes]


def as_text(value: bytes) -> str:
    """Read a text attribute."""
    return value.split(b"\0", 1)[0].decode(errors="replace")


def as_number(value: bytes) -> int:
    """Read an attribute of one, two or four bytes in the machine's order."""
    return int.from_bytes(value, sys.byteorder)


def as_network_number(value: bytes) -> int:
    """Read an attribute in network order."""
    return int.from_bytes(value, "big")


def as_ipv4(value: bytes) -> str:
    """Read an IPv4 address."""
    return str(IPv4Address(value))


def as_mac(value: bytes) -> str:
    """Read a MAC address."""
    return value.hex(":")
