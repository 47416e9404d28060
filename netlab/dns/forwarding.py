"""The names that netlab forwards to other DNS servers of the lab: `spec.dns` of the Lab (semantics 11.25). Pure.

Theory. The longest suffix decides, as CoreDNS' server blocks have it: a stub domain's servers answer for its names, the zone
for the cluster's, and for what is neither, and no host of the lab, the upstream servers. Servers are hosts of the lab, written
by name or address; a name is looked up among the lab's hosts when it is needed, as an address may come later than the Lab.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address

import dns.name

from netlab.api.lab import LabDns
from netlab.dns.hosts import Hosts

Servers = tuple[str, ...]


@dataclass(frozen=True)
class Forwarding:
    """The servers for everything else, and by domain. Servers are asked in the order written."""

    upstream: Servers = ()
    stub_domains: Mapping[dns.name.Name, Servers] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: LabDns) -> Forwarding:
        """Return what a Lab specifies."""
        return cls(spec.upstream, {dns.name.from_text(domain): servers for domain, servers in spec.stub_domains.items()})

    def stub_servers(self, name: dns.name.Name, zone: dns.name.Name) -> Servers:
        """Return the servers of the stub domain that a name belongs to, none where `zone` matches more of it."""
        above = [domain for domain in self.stub_domains if name.is_subdomain(domain)]
        if not above:
            return ()
        domain = max(above, key=len)
        return () if name.is_subdomain(zone) and len(zone) >= len(domain) else self.stub_domains[domain]


NO_FORWARDING = Forwarding()


def addresses_of(servers: Servers, hosts: Hosts) -> Servers:
    """Return the addresses of servers; one whose name no host has (yet) is left out."""
    return tuple(address for server in servers for address in _addresses(server, hosts))


def _addresses(server: str, hosts: Hosts) -> Servers:
    try:
        return (str(IPv4Address(server)),)
    except AddressValueError:
        return hosts.addresses.get(server, ())[:1]
