"""What a command sees in /etc on a host of the lab: its name, the other hosts' names, and its resolver.

A node asks its own DNS server, as a node whose kubelet runs NodeLocal DNS does. A client stands outside: it knows the lab's
hosts by /etc/hosts and no resolver, for there is none that it could reach without leaving the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netlab.api.lab import HostStatus, Lab
from netlab.dataplane.names import EDGE
from netlab.dns.resolver import node_resolv_conf
from netlab.files import clear_way, holds, write_whole
from netlab.ipam import AddressPlan
from netlab.runtime.statedir import StateDirectory

NO_RESOLVER = "# the outside of a lab has no DNS server: names of its hosts are in /etc/hosts\n"
LOCAL = "127.0.0.1\tlocalhost\n"


def host_files(lab: Lab, hosts: Iterable[HostStatus]) -> Mapping[str, Mapping[str, str]]:
    """Return by host the content of its resolv.conf, hosts and hostname."""
    members = list(hosts)
    names = {client.name: client.hostnames for client in lab.spec.clients}
    table = LOCAL + "".join(f"{host.address}\t{' '.join((host.name, *names.get(host.name, ())))}\n" for host in members)
    table += f"{AddressPlan.of(lab).edge_underlay}\t{EDGE}\n"
    resolvers = {host.name: node_resolv_conf(host.address) if host.is_node else NO_RESOLVER for host in members}
    resolvers[EDGE] = NO_RESOLVER
    return {name: {"resolv.conf": resolver, "hosts": table, "hostname": f"{name}\n"} for name, resolver in resolvers.items()}


def write_host_files(state: StateDirectory, lab: Lab, hosts: Iterable[HostStatus]) -> None:
    """Write the files that differ from what is there."""
    for host, files in host_files(lab, hosts).items():
        for name, content in files.items():
            path = state.host(host) / name
            if not holds(path, content.encode()):  # commands on the host write there, too
                clear_way(path)
                write_whole(path, content)
