"""Which Service an address and port lead to when several claim it.

ClusterIPs and node ports are handed out by the API server, each once. externalIPs are users' input: two Services may
name the same, or one may name a ClusterIP. A table has room for one (and nft refuses to delete an element twice), so
the same objects must always give the same owner:

1. a ClusterIP belongs to the Service that has it as ClusterIP, and comes before any external address;
2. among equals the first Service by namespace and name has it;
3. who loses an external address or a node port goes without it; who loses its ClusterIP is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from netlab.proxy.serviceport import ServicePortInfo, ServicePortMap

Claim = tuple[str, str, int]  # address ("" is the node's own), protocol ("" is the whole address), port


def all_claims(ports: Iterable[ServicePortInfo]) -> set[Claim]:
    """Return everything that a Service claims."""
    found: set[Claim] = set()
    for port in ports:
        found.add((port.cluster_ip, "", 0))
        found.update((ip, port.protocol, port.port) for ip in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips))
        if port.node_port:
            found.add(("", port.protocol, port.node_port))
    return found


def settle(ports: Mapping[str, tuple[ServicePortInfo, ...]]) -> ServicePortMap:
    """Give every claim one owner; Services that lose nothing keep their very objects."""
    settled: dict[str, tuple[ServicePortInfo, ...]] = {}
    owners: set[str] = set()
    for key in sorted(ports):
        if ports[key][0].cluster_ip not in owners:
            owners.add(ports[key][0].cluster_ip)
            settled[key] = ports[key]
    taken: set[Claim] = {(port.cluster_ip, port.protocol, port.port) for infos in settled.values() for port in infos}
    for key, infos in settled.items():
        kept = tuple(_settle_port(port, taken) for port in infos)
        if any(after is not before for after, before in zip(kept, infos, strict=True)):
            settled[key] = kept
    return settled


def _settle_port(port: ServicePortInfo, taken: set[Claim]) -> ServicePortInfo:
    wanted = dict.fromkeys((*port.load_balancer_ips, *port.external_ips))
    won = {ip for ip in wanted if (ip, port.protocol, port.port) not in taken}
    keeps_node_port = ("", port.protocol, port.node_port) not in taken
    taken.update((ip, port.protocol, port.port) for ip in won)
    if port.node_port:
        taken.add(("", port.protocol, port.node_port))
    if len(won) == len(wanted) and keeps_node_port:
        return port
    return replace(
        port,
        external_ips=tuple(ip for ip in port.external_ips if ip in won),
        load_balancer_ips=tuple(ip for ip in port.load_balancer_ips if ip in won),
        node_port=port.node_port if keeps_node_port else 0,
    )
