"""Reverse names: `2.1.244.10.in-addr.arpa` and the address it means, and the reverse zones we answer for (RFC 6303).

No server on the internet has a name for 10.244.1.2, so one without upstream answers itself that a private address without a
name has none. `getent hosts 10.244.1.2` then fails at once.
"""

from __future__ import annotations

import ipaddress

import dns.exception
import dns.name
import dns.reversename

LOCAL_NETWORKS = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # private (RFC 1918)
    "100.64.0.0/10",  # shared between carriers (RFC 6598)
    "127.0.0.0/8", "169.254.0.0/16",  # this host, this link
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",  # documentation (RFC 5737): a lab's outside
)  # fmt: skip


def _zones() -> frozenset[dns.name.Name]:
    """Reverse zones end at whole octets: 172.16.0.0/12 is sixteen of them."""
    zones = set()
    for text in LOCAL_NETWORKS:
        network = ipaddress.IPv4Network(text)
        octets = -(-network.prefixlen // 8)
        for part in network.subnets(new_prefix=octets * 8):
            head = str(part.network_address).split(".")[:octets]
            zones.add(dns.name.from_text(".".join((*reversed(head), "in-addr.arpa"))))
    return frozenset(zones)


LOCAL_ZONES = _zones()


def reverse_zone(name: dns.name.Name) -> dns.name.Name | None:
    """Return the local reverse zone that a name lies in, None for all others."""
    candidates = (dns.name.Name(name.labels[start:]) for start in range(max(len(name) - 6, 0), len(name)))
    return next((zone for zone in candidates if zone in LOCAL_ZONES), None)


def address_of(name: dns.name.Name) -> str | None:
    """Return the address a complete reverse name stands for, None when it is not one."""
    try:
        return str(dns.reversename.to_address(name))
    except (dns.exception.DNSException, ValueError, UnicodeError):
        return None
