"""The processes of a lab's hosts that are namespaces: agents, workload servers, the edge.

A host that is a container runs its agent itself, so the daemon has no process of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from netlab.api.lab import HostStatus, Lab
from netlab.controlplane.auth import EDGE as EDGE_USER
from netlab.controlplane.auth import node_user, token_file
from netlab.dataplane.names import EDGE
from netlab.hosts.hosts import path
from netlab.ipam import API_SERVER_PORT, AddressPlan
from netlab.process.records import agent_name
from netlab.process.spawner import ProcessSpec
from netlab.state import StateDirectory
from netlab.workloads.sockets import PRIVILEGES

# The capabilities that each entry needs once it runs; it has no others (docs/security.md).
CAPABILITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "agent": ("NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"),  # links, routes, rules; DNS on port 53; conntrack and ARP
    "edge": ("NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW"),  # addresses, rules; DNS on port 53; conntrack
    "workloads": PRIVILEGES,  # for the child that creates its sockets; the server drops its own
}


def token_of(state: StateDirectory, host: str) -> Path:
    """Return the file with the token of a host's agent."""
    return state.tokens / token_file(EDGE_USER if host == EDGE else node_user(host))


def host_processes(state: StateDirectory, lab: Lab, nodes: Sequence[HostStatus]) -> Mapping[str, ProcessSpec]:
    """Return the processes that a lab with these nodes should have, by name."""
    name, api = lab.metadata.name, AddressPlan.of(lab).api_server
    common = {
        "lab": name,
        "state": str(state.root),
        "lab_file": str(state.lab_file),
        "server": f"https://{api}:{API_SERVER_PORT}",
        "ca": str(state.certificate_authority),
    }
    specs = []
    for host, entries in ((EDGE, ("edge",)), *((node.name, ("agent", "workloads")) for node in nodes)):
        arguments = {**common, "node": host, "token": str(token_of(state, host))}
        for entry in entries:
            title = f"workloads-{host}" if entry == "workloads" else agent_name(host)
            serves = entry == "workloads"
            specs.append(
                ProcessSpec(
                    name=title,
                    entry=entry,
                    namespace=path(name, host),
                    arguments=arguments,
                    log=str(state.log(title)),
                    reads=() if serves else (arguments["ca"], arguments["token"]),
                    socket=str(state.socket(title)) if serves else "",
                    capabilities=CAPABILITIES[entry],
                )
            )
    return {spec.name: spec for spec in specs}
