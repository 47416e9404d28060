"""Netlink's messages as the kernel lists them, read from their bytes: the fixed part, and of the attributes those asked for.

What: a `Form` is a message of pyroute2's (`codecs`) with the attributes that netlab reads, each with what makes a value
of its bytes. `read` steps through a message once and returns a dictionary, by pyroute2's names of fields and attributes; what
is not there is not in it.

Why not pyroute2's own decoding: a link has fifty attributes, and an object is made of each, read or not; every question for one
looks through all of them. Listing is what netlab does most with netlink, in the daemon and in every agent, and this takes an
eighth of the time. Declarations (numbers, layouts) are pyroute2's still, and so are all requests.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from typing import Any

from netlab.kernel.codecs import Message, netlink

Values = dict[str, Any]
_ATTRIBUTE = struct.Struct("=HH")  # length with this header, type
_TYPE = ~(netlink.NLA_F_NESTED | netlink.NLA_F_NET_BYTEORDER)  # without the flags that share its bits
_OWN_ORDER = "!"  # a field in the network's order of bytes; none of those is read
_HEADER = 16  # bytes that every message begins with


class Form:
    """Which attributes of a message are read, and how."""

    def __init__(self, message: type[Message], readers: Mapping[str, Callable[[bytes], Any]]) -> None:
        numbers = dict(_numbered(place, row) for place, row in enumerate(message.nla_map))
        self._readers = {numbers[name]: (name, read) for name, read in readers.items()}
        self._fixed = struct.Struct("=" + "".join(layout.lstrip(_OWN_ORDER) for _, layout in message.fields))
        self._fields = tuple(name for name, layout in message.fields if "x" not in layout)  # the others are padding

    def read(self, datagram: bytes, offset: int, length: int) -> Values:
        """Return a message's values; it begins at `offset` with its header."""
        start = offset + _HEADER
        found: Values = dict(zip(self._fields, self._fixed.unpack_from(datagram, start), strict=True))
        return self._attributes(found, datagram, start + self._fixed.size, offset + length)

    def nested(self, value: bytes) -> Values:
        """Return the values of an attribute that holds attributes."""
        return self._attributes({}, value, 0, len(value))

    def _attributes(self, found: Values, data: bytes, offset: int, end: int) -> Values:
        readers, unpack, size = self._readers, _ATTRIBUTE.unpack_from, _ATTRIBUTE.size
        while offset + size <= end:
            length, kind = unpack(data, offset)
            if reader := readers.get(kind & _TYPE):
                found.setdefault(reader[0], reader[1](data[offset + size : offset + length]))
            offset += max(length + (-length % 4), size)
        return found


def _numbered(place: int, row: tuple[Any, ...]) -> tuple[str, int]:
    """Return the name and number of a row of attributes: its number is its place, unless it begins with another."""
    return (row[1], row[0]) if isinstance(row[0], int) else (row[0], place)


# ---- what attributes hold
def number(value: bytes) -> int:
    """Read an unsigned number of this machine's byte order, of whatever width."""
    return int.from_bytes(value, _NATIVE)


def network_number(value: bytes) -> int:
    """Read an unsigned number of the network's byte order."""
    return int.from_bytes(value, "big")


def text(value: bytes) -> str:
    """Read a text that ends with a zero. Any user may name a device in bytes that are not text."""
    return value.partition(b"\0")[0].decode(errors="replace")


def mac(value: bytes) -> str:
    """Read a hardware address."""
    return value.hex(":")


def address(value: bytes) -> str:
    """Read an IPv4 or IPv6 address."""
    return socket.inet_ntop(socket.AF_INET if len(value) == _IPV4 else socket.AF_INET6, value)


def raw(value: bytes) -> bytes:
    """Leave an attribute to be read when it is known what it is."""
    return value


_NATIVE: Any = "little" if struct.pack("=H", 1)[0] else "big"
_IPV4 = 4  # bytes
