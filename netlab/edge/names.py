"""The DNS server outside the cluster, which the lab's hosts have in their resolv.conf (semantics 11.21).

A cluster's node takes its resolver from the network that it stands in, and that resolver does not know the cluster's zone: so
programs on a node, pods with hostNetwork and pods with dnsPolicy Default do not find Services by name. In a lab the edge is
that network's router, and as such a router often does, it answers DNS, on its underlay address. It knows the lab's hosts
(ConfigMap kube-system/coredns, key NodeHosts) and what the Lab's `spec.dns.upstream` answers; every other name does not
exist, as no packet of a lab leaves the machine. Stub domains are known to the cluster's DNS only.

The server binds one address, not all: a Service may have port 53 of a load balancer address, which is the edge's, too.
"""

from __future__ import annotations

from netlab.api.config import ConfigMap
from netlab.api.wellknown import HOST_NAMES_KEY
from netlab.dns.forwarding import Forwarding, Servers
from netlab.dns.server import DnsServer
from netlab.dns.zone import Zone


class OutsideNames:
    """Serves the names of the lab's hosts on one address. `await close()` ends it."""

    def __init__(self, address: str, port: int = 53, *, upstream: Servers = ()) -> None:
        self._address = address
        self._forwarding = Forwarding(upstream)
        self._port = port
        self._zone: Zone | None = None
        self._server = DnsServer()
        self._started = False

    @property
    def port(self) -> int:
        """The port listened on (for tests, which ask for port 0)."""
        return self._server.port

    async def serve(self, hosts: ConfigMap | None, version: int) -> None:
        """Answer from these hosts from now on. Raises OSError when the address is not there or the port is taken."""
        text = hosts.data.get(HOST_NAMES_KEY, "") if hosts else ""
        self._zone = Zone.outside(text, serial=version, forwarding=self._forwarding, previous=self._zone)
        self._server.update(self._zone)
        if not self._started:
            await self._server.start(self._address, self._port)
            self._started = True

    async def close(self) -> None:
        """Stop listening and end all connections."""
        await self._server.close()
