"""The files in /etc that a command sees on a host of the lab: its name, the hosts, its resolver.

All hosts, nodes included, use the DNS server outside the cluster, which the edge runs: it resolves
the lab's hosts and no name of the cluster's zone, as the resolver of a cluster's node (semantics
11.21).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netlab.api.lab import HostStatus, Lab
from netlab.dataplane.names import EDGE
from netlab.dns.resolver import outside_resolv_conf
from netlab.files import clear_way, holds, write_whole
from netlab.ipam import AddressPlan
from netlab.state import StateDirectory

LOCAL = "127.0.0.1\tlocalhost\n"


def host_files(lab: Lab, hosts: Iterable[HostStatus]) -> Mapping[str, Mapping[str, str]]:
    """Return the content of resolv.conf, hosts and hostname, by host."""
    members = list(hosts)
    names = {client.name: client.hostnames for client in lab.spec.clients}
    table = LOCAL + "".join(f"{host.address}\t{' '.join((host.name, *names.get(host.name, ())))}\n" for host in members)
    edge = AddressPlan.of(lab).edge_underlay
    table += f"{edge}\t{EDGE}\n"
    common = {"resolv.conf": outside_resolv_conf(edge), "hosts": table}
    return {name: {**common, "hostname": f"{name}\n"} for name in (*(host.name for host in members), EDGE)}


def write_host_files(state: StateDirectory, lab: Lab, hosts: Iterable[HostStatus]) -> None:
    """Write the files whose content differs."""
    for host, files in host_files(lab, hosts).items():
        for name, content in files.items():
            path = state.host(host) / name
            if not holds(path, content.encode()):  # commands on the host may write there, too
                clear_way(path)
                write_whole(path, content)
