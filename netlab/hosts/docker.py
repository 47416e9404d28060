"""Runtime `docker`: fabric, edge, nodes and clients are containers, joined by the same cables as namespaces are.

    the machine                      fabric                        node1, edge, client (no network)
    br-... 172.30.0.3/16  -- eth0 -- underlay 172.30.0.2/16 ------ eth0 172.30.1.1/16
    the lab's Docker network         outside                ------ eth1, eth0 ...

- Every container's network namespace is bound to /run/netns/<lab>-<host>. From then on it is a
  namespace like any other: the code of runtime `netns` wires the fabric, captures packets and sends
  probes.
- Only the fabric is on the lab's Docker network, and its interface there becomes a port of the
  underlay. So the network's segment is the underlay, and the machine reaches the nodes through it.
  If Docker attached every node, the rules of an `internal` network would drop each bridged packet
  with a client's address, such as the packets of a load balancer.
- A container that has ended is restarted; one that was removed is recreated, and so is a fabric
  that is no longer on the network. Both get a new namespace. The old one, which its name has kept
  alive, is emptied, the name is bound to the new one, and the difference is wired. A paused
  container keeps its namespace, and is resumed.
- The labels of a container state its owner. Only whether it runs is compared: a host keeps the
  image that it was created from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from netlab.api.lab import HostStatus, Lab
from netlab.dataplane.fabric import Host
from netlab.dataplane.names import FABRIC
from netlab.engine.protocol import (
    CONNECTED,
    LAB_LABEL,
    OWNER_LABEL,
    PAUSED,
    ROLE_LABEL,
    Container,
    ContainerSpec,
    Engine,
    Event,
    Network,
)
from netlab.files import write_whole
from netlab.hosts.claims import record, refuse_foreign, release
from netlab.hosts.docker_network import network_name, network_spec
from netlab.hosts.docker_specs import FABRIC_ROLE, HOST_ROLES, WITH_AGENT, Given, agent_arguments, fabric_spec, host_spec
from netlab.hosts.hosts import fabric_hosts, path
from netlab.hosts.wiring import wire
from netlab.ipam import API_SERVER_PORT, AddressPlan
from netlab.kernel.door import Kernel
from netlab.process.identity import children, end, start_time
from netlab.state import StateDirectory

UPLINK = "eth0"  # Docker's name for the interface of a container on a network
LEAVING, ENDED = ("removing", "dead"), ("created", "exited")  # states, in the engine's words
LOSSES = ("die", "destroy")  # events, in the engine's words
log = logging.getLogger("netlab.hosts")


class DockerRuntime:
    """Creates and removes the hosts of one lab.

    `token_of` returns the token file of a host's agent.
    """

    def __init__(self, engine: Engine, kernel: Kernel, state: StateDirectory, token_of: Callable[[str], Path]) -> None:
        self._engine = engine
        self._kernel = kernel
        self._state = state
        self._token_of = token_of
        self._pids: dict[str, int] = {}  # host -> the first process of its container
        self._starts: dict[str, int | None] = {}  # and its start time

    def converge(self, lab: Lab, hosts: Sequence[HostStatus]) -> int:
        """Create or repair fabric, edge and hosts; return the number of changes."""
        members = fabric_hosts(lab, hosts)
        self._write_arguments(lab, members)
        running, started = self._run_containers(lab, members)
        sources = {path(lab.metadata.name, host): container.network_namespace for host, container in running.items()}
        refuse_foreign(self._state, {where: self._kernel.occupant(where) for where in sources})
        record(self._state, sources)
        bound = self._kernel.bind_namespaces(sources)
        self._pids = {host: container.pid for host, container in running.items()}
        self._starts = {host: start_time(pid) for host, pid in self._pids.items()}
        if bound:
            log.info("bound=%s", ",".join(Path(where).name for where in bound))
        changes = wire(self._kernel, lab, members, uplink=UPLINK)
        if path(lab.metadata.name, FABRIC) in bound:
            self._renew_agents([host.name for host in members if host.role in WITH_AGENT and host.path not in bound])
        return started + len(bound) + changes

    def remove(self, lab: str, hosts: Iterable[HostStatus]) -> None:
        """Remove hosts that are no longer wanted, and their records."""
        leaving = {host.name for host in hosts}
        if leaving:
            self._engine.remove([container.id for host, container in self._present(lab).items() if host in leaving])
        release(self._kernel, self._state, [path(lab, name) for name in leaving])

    def stands(self, host: str) -> bool:
        """Return whether a host's container runs and its namespace, kept by a name, exists."""
        there = self._kernel.namespace_exists(path(self._state.lab, host))
        pid, start = self._pids.get(host), self._starts.get(host)  # the daemon has just started and has no data yet
        return there and (pid is None or (start is not None and start_time(pid) == start))

    def agent_starts(self, host: str) -> Collection[int]:
        """Return the start times of a host's possible agents: the children of `keep`, its pid 1."""
        pid = self._pids.get(host)
        starts = (start_time(child) for child in children(pid)) if pid else ()
        return {start for start in starts if start is not None}

    def _renew_agents(self, hosts: Iterable[str]) -> None:
        """End agents whose host has lost its cable to the fabric: the engine restarts them.

        A node has lost all devices on the cable. Every agent has lost its connection to the API
        server without notice, so for half a minute it would receive no events.
        """
        for pid in filter(None, map(self._pids.get, hosts)):
            for child in children(pid):
                if start := start_time(child):
                    end(child, start)

    def watch(self, lost: Callable[[], None]) -> Callable[[], None]:
        """Call `lost` after the end or removal of a host's container, or an engine's outage."""
        first = [CONNECTED]  # a new listener checks everything anyway

        def hear(event: Event) -> None:
            if event.action == CONNECTED and first:
                first.clear()
            elif event.action == CONNECTED or (event.action in LOSSES and event.labels.get(ROLE_LABEL) in HOST_ROLES):
                lost()

        return self._engine.events({LAB_LABEL: self._state.lab}, hear)

    # ---- containers
    def _present(self, lab: str) -> dict[str, Container]:
        """Return the containers of the lab's hosts, by host."""
        found = self._engine.containers({LAB_LABEL: lab})
        return {c.labels[OWNER_LABEL]: c for c in found if c.labels.get(ROLE_LABEL) in HOST_ROLES}

    def _run_containers(self, lab: Lab, members: Sequence[Host]) -> tuple[dict[str, Container], int]:
        """Start stopped hosts in parallel.

        Return the containers by host, and the number of changes.
        """
        name = lab.metadata.name
        spec = network_spec(lab, str(self._state.root.parent))
        network = next(iter(self._engine.networks({LAB_LABEL: name})), None) or self._engine.create_network(spec)
        found = self._present(name)
        useless = [host for host, container in found.items() if container.state in LEAVING or _is_cut_off(container, network)]
        self._engine.remove([found[host].id for host in useless])
        present = {host: container for host, container in found.items() if host not in useless}
        paused = [container.id for container in present.values() if container.state == PAUSED]
        self._engine.resume(paused)
        ended = [container.id for container in present.values() if container.state in ENDED]
        missing = {host: spec for host, spec in self._specs(lab, members).items() if host not in present}
        started = [*self._engine.start_again(ended), *self._engine.start(list(missing.values()))]
        running = {host: container for host, container in present.items() if container.state not in ENDED}
        return {**running, **{container.labels[OWNER_LABEL]: container for container in started}}, len(started) + len(paused)

    def _specs(self, lab: Lab, members: Sequence[Host]) -> Mapping[str, ContainerSpec]:
        name, images = lab.metadata.name, self._state.read_images()
        fabric = fabric_spec(name, images, network_name(name), AddressPlan.of(lab).api_server)
        return {FABRIC: fabric, **{host.name: host_spec(name, host, images, self._given(host)) for host in members}}

    def _given(self, host: Host) -> Given:
        token = str(self._token_of(host.name)) if host.role in WITH_AGENT else ""
        return Given(str(self._state.host(host.name)), str(self._state.lab_file), str(self._state.certificate_authority), token)

    def _write_arguments(self, lab: Lab, members: Sequence[Host]) -> None:
        server = f"https://{AddressPlan.of(lab).api_server}:{API_SERVER_PORT}"
        for host in members:
            content = msgspec.json.encode(agent_arguments(lab.metadata.name, host, server))
            where = self._state.host(host.name) / "arguments.json"
            if not where.exists():
                write_whole(where, content)


def _is_cut_off(container: Container, network: Network) -> bool:
    """Return whether a fabric is no longer on the lab's network."""
    return container.labels[ROLE_LABEL] == FABRIC_ROLE and network.id not in container.networks
