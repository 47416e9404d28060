"""Addresses, ports, protocols and names of objects, parsed: what may reach the kernel, a script or a file.

Theory. A field of an object is text from any user. A value that reaches an nft script, a route, an ARP or FDB entry, a
conntrack filter or a hosts file must have been parsed: the functions below return it in its one canonical form, or raise
`InvalidValueError`, which names the field and the value. Each form has its own type (`Ip` is not `str`), so mypy refuses
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
from ipaddress import collapse_addresses, ip_address, ip_network
from typing import Final, NewType

from netlab.errors import InvalidValueError
from netlab.family import Family, IpNetwork

Ip = NewType("Ip", str)  # 10.244.1.5, of the family that the caller asked for
Cidr = NewType("Cidr", str)  # 10.244.1.0/24, likewise
Mac = NewType("Mac", str)  # 02:00:00:00:00:01, of one device: neither broadcast nor multicast nor zero
Transport = NewType("Transport", str)  # tcp, udp or sctp
HostName = NewType("HostName", str)  # a DNS name (RFC 1123), lower case

TRANSPORTS: Final = {name.upper(): Transport(name) for name in ("tcp", "udp", "sctp")}
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
def address(text: str, field: str, family: Family) -> Ip:
    """Return an address of a family; a zone (`%eth0`) is refused."""
    if len(text) <= LONGEST_ADDRESS and "%" not in text:
        try:
            return Ip(str(family.address(text)))
        except ValueError:
            pass
    raise InvalidValueError(f"{field} is {shown(text)}, which is not an {family.name} address.")


def unicast(text: str, field: str, family: Family) -> Ip:
    """Return the address of one host: not unspecified, loopback, multicast or reserved."""
    found = address(text, field, family)
    parsed = family.address(found)
    if parsed.is_unspecified or parsed.is_loopback or parsed.is_multicast or parsed.is_reserved:
        raise InvalidValueError(f"{field} is {found}, which cannot be the address of a host.")
    return found


def ip(text: str, field: str) -> Ip:
    """Return an address of any family; a zone (`%eth0`) is refused."""
    if len(text) <= LONGEST_ADDRESS and "%" not in text:
        try:
            return Ip(str(ip_address(text)))
        except ValueError:
            pass
    raise InvalidValueError(f"{field} is {shown(text)}, which is not an IP address.")


def addresses(texts: Iterable[str], field: str, family: Family) -> tuple[Ip, ...]:
    """Return the addresses of a list that are of a family, each once."""
    parsed = dict.fromkeys(ip(text, field) for text in texts)
    return tuple(found for found in parsed if ip_address(found).version == family.version)


def cidr(text: str, field: str, family: Family) -> Cidr:
    """Return a network of a family; bits beyond its prefix are refused."""
    if len(text) <= LONGEST_ADDRESS and "/" in text:
        try:
            return Cidr(str(family.network(text)))
        except ValueError:
            pass
    raise InvalidValueError(f"{field} is {shown(text)}, which is not an {family.name} network.")


def source_ranges(texts: Iterable[str], field: str, family: Family) -> tuple[Cidr, ...]:
    """Return networks of a family that do not overlap, as an nft set needs; none if one is `any`.

    Kubernetes allows spaces around a prefix and bits beyond it. Networks of the other family are left out.
    """
    networks = [_network(text, field) for text in texts]
    own = (network for network in networks if network.version == family.version)
    merged = collapse_addresses(own)  # type: ignore[type-var]  # all are of one family
    ranges = tuple(Cidr(str(network)) for network in merged)
    return () if family.any in ranges else ranges


def _network(text: str, field: str) -> IpNetwork:
    if len(text) <= LONGEST_ADDRESS:
        try:
            return ip_network(text.strip(), strict=False)
        except ValueError:
            pass
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
