"""The families of addresses as values: what a compiler of rules or links must know of IPv4 or IPv6.

Each compiler (rules, links, routes, address plan) takes a `Family`, or derives it from an address,
and runs once per family, as kube-proxy's do. It contains no branch on the family: a fact that
differs between IPv4 and IPv6 is a field of this table.

IPv4 is the only family in use: `IN_USE`. A dual-stack lab needs a second entry there, a second pod
and Service network in `spec.networking`, and the facts of IPv6 that this table does not have:
neighbor discovery instead of ARP, router advertisements, duplicate address detection.

What would surprise you
    - nft writes ICMP for IPv6 as `ipv6-icmp`, and an address that a port follows in brackets.
    - `.0` of a subnet is an ordinary host address in IPv6 (the anycast address of its routers), and
      there is no broadcast address; netlab leaves out the last address in both families.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import ClassVar, Final

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network
IpInterface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, eq=False, kw_only=True)
class Family:
    """A family of addresses. There are two values, `Family.IPV4` and `Family.IPV6`."""

    IPV4: ClassVar[Family]
    IPV6: ClassVar[Family]

    version: int
    name: str  # as Kubernetes writes it in ipFamilies and addressType
    nft: str  # the family of a table, and the header of the expressions in its rules
    set_type: str  # nft's type of an element that is an address
    characters: str  # of an address in text, as a class of a regular expression
    brackets: tuple[str, str]  # around an address that a port follows
    icmp: str  # nft's name of the protocol
    address: Callable[[str | int], IpAddress]
    network: Callable[[str], IpNetwork]
    bits: int  # of an address
    record: str  # the type of a DNS record with an address
    header: int  # bytes of the header of a packet
    any: str  # the prefix of all addresses: the default route, every client
    forwarding: str  # the setting by which a namespace routes, below /proc/sys
    loopback: str  # the range of a host's own addresses
    loopback_address: str  # of `lo`, with its prefix length
    multicast: str

    def __repr__(self) -> str:
        return f"Family({self.name})"

    @classmethod
    def of(cls, address: str) -> Family:
        """Return the family of an address or prefix. Raises ValueError if it is neither."""
        return _BY_VERSION[ip_interface(address).version]

    def host(self, address: str) -> str:
        """Return the prefix of a single address: `10.244.1.0/32`."""
        return f"{address}/{self.bits}"

    def with_port(self, address: str, port: int) -> str:
        """Return an address with a port: `10.244.1.5:80`, `[fd00::5]:80`."""
        before, after = self.brackets
        return f"{before}{address}{after}:{port}"


Family.IPV4 = Family(
    version=4,
    name="IPv4",
    nft="ip",
    set_type="ipv4_addr",
    characters=r"[\d.]",
    brackets=("", ""),
    icmp="icmp",
    address=IPv4Address,
    network=IPv4Network,
    bits=32,
    record="A",
    header=20,
    any="0.0.0.0/0",
    forwarding="net/ipv4/ip_forward",
    loopback="127.0.0.0/8",
    loopback_address="127.0.0.1/8",
    multicast="224.0.0.0/4",
)
Family.IPV6 = Family(
    version=6,
    name="IPv6",
    nft="ip6",
    set_type="ipv6_addr",
    characters=r"[\da-f:.]",
    brackets=("[", "]"),
    icmp="ipv6-icmp",
    address=IPv6Address,
    network=IPv6Network,
    bits=128,
    record="AAAA",
    header=40,
    any="::/0",
    forwarding="net/ipv6/conf/all/forwarding",
    loopback="::1/128",
    loopback_address="::1/128",
    multicast="ff00::/8",
)
FAMILIES: Final = (Family.IPV4, Family.IPV6)
IN_USE: Final = (Family.IPV4,)  # the families of a lab's networks
_BY_VERSION: Final = {family.version: family for family in FAMILIES}


@lru_cache(maxsize=65536)
def number(address: str) -> int:
    """Return an address of either family as a number, by which addresses sort."""
    return int(ip_address(address))
