"""Addresses, ports, protocols and names of objects, parsed: what may reach the kernel, a script or a file.

Theory. A field of an object is text from any user. A value that reaches an nft script, a route, an ARP or FDB entry, a
conntrack filter or a hosts file must have been parsed: the functions below return it in its one canonical form, or raise
`InvalidValueError`, which names the field and the value. Each form has its own type (`Ipv4` is not `str`), so mypy refuses
text that was not parsed where a value is wanted; only this module makes these types.

Rules:
1. Parse where an object enters a component, once. What does not parse leaves its object out, alone, with one log line.
2. The canonical form is the only one: `10.0.0.0/8`, lower-case MAC addresses, lower-case protocols.
3. Texts are cut in messages: an annotation may hold a megabyte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import Final, NewType

from netlab.errors import InvalidValueError

Ipv4 = NewType("Ipv4", str)  # 10.244.1.5
Cidr = NewType("Cidr", str)  # 10.244.1.0/24
Mac = NewType("Mac", str)  # 02:00:00:00:00:01, of one device: neither broadcast nor multicast nor zero
Transport = NewType("Transport", str)  # tcp, udp or sctp
HostName = NewType("HostName", str)  # a DNS name (RFC 1123), lower case

TRANSPORTS: Final = {name.upper(): Transport(name) for name in ("tcp", "udp", "sctp")}
EVERYBODY: Final = Cidr("0.0.0.0/0")
LARGEST_PORT: Final = 65535
LONGEST_ADDRESS: Final = 64  # characters; the longest IPv6 prefix has 43
_LONGEST_SHOWN = 60
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LONGEST_NAME = 253


def shown(value: object) -> str:
    """Return a value as a message shows it: quoted, in one line, cut."""
    text = value[: _LONGEST_SHOWN + 1] if isinstance(value, str) else str(value)
    return repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]!r}..."


@lru_cache(maxsize=65536)
def ipv4(text: str, field: str) -> Ipv4:
    """Return an IPv4 address."""
    if len(text) <= LONGEST_ADDRESS:
        try:
            return Ipv4(str(IPv4Address(text)))
        except ValueError:
            pass
    raise InvalidValueError(f"{field} is {shown(text)}, which is not an IPv4 address.")


def unicast(text: str, field: str) -> Ipv4:
    """Return the IPv4 address of one host: not 0.0.0.0, loopback, multicast, reserved or broadcast."""
    address = ipv4(text, field)
    parsed = IPv4Address(address)
    if parsed.is_unspecified or parsed.is_loopback or parsed.is_multicast or parsed.is_reserved:
        raise InvalidValueError(f"{field} is {address}, which cannot be the address of a host.")
    return address


def ip(text: str, field: str) -> str:
    """Return an address of either family; a zone (`%eth0`) is refused."""
    if len(text) <= LONGEST_ADDRESS and "%" not in text:
        try:
            return str(IPv6Address(text)) if ":" in text else str(IPv4Address(text))
        except ValueError:
            pass
    raise InvalidValueError(f"{field} is {shown(text)}, which is not an IP address.")


def ipv4_of(texts: Iterable[str], field: str) -> tuple[Ipv4, ...]:
    """Return the IPv4 addresses of a list, each once; those of the other family are left out."""
    return tuple(dict.fromkeys(Ipv4(address) for text in texts if "." in (address := ip(text, field)) and ":" not in address))


def cidr(text: str, field: str) -> Cidr:
    """Return an IPv4 network; bits beyond its prefix are refused."""
    if len(text) <= LONGEST_ADDRESS and "/" in text:
        try:
            return Cidr(str(IPv4Network(text)))
        except ValueError:
            pass
    raise InvalidValueError(f"{field} is {shown(text)}, which is not an IPv4 network.")


def source_ranges(texts: Iterable[str], field: str) -> tuple[Cidr, ...]:
    """Return IPv4 networks that do not overlap, which is what an nft set takes; none when they cover all addresses.

    Kubernetes allows spaces around a prefix and bits beyond it. Networks of the other family are left out.
    """
    networks = tuple(network for text in texts if (network := _network(text, field)) is not None)
    ranges = tuple(Cidr(str(network)) for network in collapse_addresses(networks))
    return () if EVERYBODY in ranges else ranges


def _network(text: str, field: str) -> IPv4Network | None:
    if len(text) <= LONGEST_ADDRESS:
        stripped = text.strip()
        try:
            if ":" not in stripped:
                return IPv4Network(stripped, strict=False)
            IPv6Network(stripped, strict=False)
        except ValueError:
            pass
        else:
            return None
    raise InvalidValueError(f"{field} holds {shown(text)}, which is not a network.")


def mac(text: str, field: str) -> Mac:
    """Return the MAC address of one device."""
    address = text.lower() if len(text) <= LONGEST_ADDRESS else ""
    if not _MAC.fullmatch(address):
        raise InvalidValueError(f"{field} is {shown(text)}, which is not a MAC address.")
    if int(address[:2], 16) & 1 or address == "00:00:00:00:00:00":
        raise InvalidValueError(f"{field} is {address}, which is not the MAC address of one device.")
    return Mac(address)


def port(number: object, field: str) -> int:
    """Return a port number from 1 to 65535."""
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= LARGEST_PORT:
        raise InvalidValueError(f"{field} is {shown(number)}, which is not a port number.")
    return number


def port_or_none(number: object, field: str) -> int:
    """Return a port number, 0 for none."""
    return 0 if number == 0 else port(number, field)


def transport(text: str, field: str) -> Transport:
    """Return a protocol that has ports."""
    if text not in TRANSPORTS:
        raise InvalidValueError(f"{field} is {shown(text)}, which is not TCP, UDP or SCTP.")
    return TRANSPORTS[text]


def host_name(text: str, field: str) -> HostName:
    """Return a DNS name in lower case."""
    name = text.lower() if len(text) <= _LONGEST_NAME else ""
    if not _NAME.fullmatch(name):
        raise InvalidValueError(f"{field} is {shown(text)}, which is not a DNS name.")
    return HostName(name)
